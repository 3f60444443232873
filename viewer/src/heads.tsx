/** The attention maps of a layer, one a head. */
import { readMap } from "./maps";
import { go } from "./state";
import { Thumb } from "./strip";
import type { View } from "./view";

export function Heads({ view }: { view: View }) {
  const { result, layer, heads, state } = view, missing = result.missing("att", layer);
  return (
    <section class="panel pane" aria-labelledby="heads-title">
      <header><h2 id="heads-title">Heads of layer {layer}: attention z → u</h2></header>
      <div class="stage scroll" tabIndex={0}>
        {missing && !heads.length ? <p class="empty">{missing}</p> : !heads.length ? <p class="empty">Loading…</p> : (
          <div class="grid">
            {heads.map((head) => {
              const map = readMap(result, layer, "att", String(head));
              return (
                <button key={head} class="thumb" aria-pressed={view.name === "att" && state.head === String(head)}
                  aria-label={`Head ${head}`} onClick={() => go({ map: "att", head: String(head) })}>
                  {map ? <Thumb map={map} view={view} size={Math.max(144, Math.min(512, map.columns.length))} /> : <i />}
                  <span>{head}</span>
                </button>
              );
            })}
          </div>
        )}
      </div>
    </section>
  );
}
