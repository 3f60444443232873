/** The attention maps of a layer, one a head; of the pinned target each says its largest source, or its value from the second. */
import { Kind, MapView, readMap } from "./maps";
import { digits } from "./numbers";
import { named } from "./result";
import { go } from "./state";
import { Thumb } from "./strip";
import type { View } from "./view";

export function Heads({ view }: { view: View }) {
  const { result, layer, heads, state } = view, missing = result.missing("att", layer);
  const { pin, second } = state, { labels } = result, from = labels[second] && second !== pin ? second : null;
  return (
    <section class="panel pane" aria-labelledby="heads-title">
      <header><h2 id="heads-title">Heads of layer {layer}: attention z → u</h2></header>
      {labels[pin] && heads.length ? <p class="soft small">
        Into {named(labels[pin])}: {from === null ? "the largest source of each head. Shift and a press on a token: its value in each." : `the value from ${named(labels[from])} in each head.`}</p> : null}
      <div class="stage scroll" tabIndex={0}>
        {missing && !heads.length ? <p class="empty">{missing}</p> : !heads.length ? <p class="empty">Loading…</p> : (
          <div class="grid">
            {heads.map((head) => {
              const map = readMap(result, layer, "att", String(head));
              return (
                <button key={head} class="thumb" aria-pressed={view.name === "att" && state.head === String(head)}
                  aria-label={`Head ${head}`} onClick={() => go({ map: "att", head: String(head) })}>
                  {map ? <Thumb map={map} view={view} size={Math.max(144, Math.min(512, map.columns.length))} marked={pin} /> : <i />}
                  <span>{head}{map && labels[pin] ? <small> · {source(map, pin, from, state.special)}</small> : null}</span>
                </button>
              );
            })}
          </div>
        )}
      </div>
    </section>
  );
}

function source(map: MapView, target: number, from: number | null, hidden: boolean): string {
  const count = map.columns.length, value = (row: number): number => map.values[row * count + target];
  const seen = map.rows.map((_, row) => row).filter((row) => map.kind(row, target) === Kind.Value);
  if (from !== null) return seen.includes(from) ? digits(value(from), 3) : "—";
  const eligible = seen.filter((each) => !(hidden && map.rows[each].special));
  const row = eligible.reduce((best, each) => (Math.abs(value(each)) > Math.abs(value(best)) ? each : best), eligible[0] ?? -1);
  return row < 0 ? "—" : `${map.rows[row].text} ${digits(value(row), 3)}`;
}
