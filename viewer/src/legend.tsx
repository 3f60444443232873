/** The colours and what they stand for. */
import { Kind } from "./maps";
import { short } from "./numbers";
import type { View } from "./view";

export function Legend({ view }: { view: View }) {
  const map = view.drawn!, { end, state } = view, count = map.columns.length;
  const has = (kind: Kind): boolean => {
    // Masks and definitions hold along the diagonal and off it: its ends, and a few rows between, tell.
    for (let i = 0; i < map.rows.length; i += Math.ceil(map.rows.length / 24)) for (let j = 0; j < count; j++) if (map.kind(i, j) === kind) return true;
    return false;
  };
  const say = (x: number): string => (state.share ? `${short(100 * x)} %` : short(x));
  return (
    <footer class="legend small">
      <span class="scale"><span>≤ {say(-end)}</span><i class="ramp" role="img" aria-label={`Colours from ${say(-end)} over 0 to ${say(end)}`} /><span>≥ {say(end)}</span></span>
      {has(Kind.Definition) ? <span><i class="key definition" /> 0 by definition</span> : null}
      {has(Kind.Masked) ? <span><i class="key masked" /> masked: not seen by the target</span> : null}
      {has(Kind.Absent) ? <span><i class="key" /> {state.side === "d" && state.view === "compare" ? "not in both" : "not asked for"}</span> : null}
      {map.converged.includes(false) ? <span class="warn">▲ not converged</span> : null}
      <span class="soft">{map.about}</span>
    </footer>
  );
}
