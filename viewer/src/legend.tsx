/** The colours and what they stand for. */
import { Kind, isUnknown } from "./maps";
import { short } from "./numbers";
import type { View } from "./view";

export function Legend({ view }: { view: View }) {
  const map = view.drawn!, { end, state } = view, count = map.columns.length;
  const seen = new Set<Kind | "unknown">();
  // Masks and definitions hold along the diagonal and off it: its ends, and a few rows between, tell.
  for (let i = 0; i < map.rows.length; i += Math.ceil(map.rows.length / 24)) for (let j = 0; j < count; j++) {
    const kind = map.kind(i, j);
    seen.add(kind === Kind.Absent && isUnknown(map, j) ? "unknown" : kind);
  }
  const say = (x: number): string => (state.share ? `${short(100 * x)} %` : short(x));
  return (
    <footer class="legend small">
      <span class="scale"><span>≤ {say(-end)}</span><i class="ramp" role="img" aria-label={`Colours from ${say(-end)} over 0 to ${say(end)}`} /><span>≥ {say(end)}</span></span>
      {seen.has(Kind.Definition) ? <span><i class="key definition" /> 0 by definition</span> : null}
      {seen.has(Kind.Masked) ? <span><i class="key masked" /> masked: not seen by the target</span> : null}
      {seen.has(Kind.Absent) ? <span><i class="key" /> {state.side === "d" && state.view === "compare" ? "not in both" : "not asked for"}</span> : null}
      {seen.has("unknown") ? <span><i class="key" /> not known</span> : null}
      {map.converged.includes(false) ? <span class="warn">▲ not converged</span> : null}
      <span class="soft">{map.about}</span>
    </footer>
  );
}
