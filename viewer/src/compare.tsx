/** Two maps side by side: a and b, the difference, where the two texts differ, and what changed most. */
import { difference, summarise } from "./difference";
import { ask } from "./service";
import { digits } from "./numbers";
import { named, Result } from "./result";
import { session } from "./session";
import { go, point } from "./state";
import { COMPOSED, View } from "./view";

const BASELINES = { layer: ["self_input_token", "zero", "itb_zero_ratio"], att: ["self_input_token", "zero", "itb_zero_ratio", "itb_map_ratio"] };

export interface Choice { id: string; title: string }

export function Compare({ view, choices, explain }: { view: View; choices: Choice[]; explain: ((request: object) => Promise<string>) | null }) {
  const { state, result, map, other } = view, composed = state.b in COMPOSED;
  const d = map && other ? difference(map, other, composed ? null : session.alignment) : null;
  const found = d && map ? summarise(map, d, 8) : null;
  const config = result.head.config ?? {}, which = view.name === "att" ? "att" : "layer";
  return (
    <section class="panel pane compare" aria-labelledby="compare-title">
      <header><h2 id="compare-title">Compare</h2></header>
      <div class="stage scroll" tabIndex={0}>
        <label class="field">b is
          <select id="b" value={state.b} onChange={(e) => go({ b: e.currentTarget.value, side: "d" })}>
            <option value="">choose…</option>
            <optgroup label="This result, by another map">
              {(["layer", "product", "conserving"] as const).filter((n) => n !== view.name && result.parts.includes(n === "layer" ? "layer" : "composed"))
                .map((n) => <option key={n} value={n}>{n === "layer" ? "the layer map" : `composed, ${n}`}</option>)}
            </optgroup>
            <optgroup label="Another result">{choices.map((c) => <option key={c.id} value={c.id}>{c.title}</option>)}</optgroup>
          </select>
        </label>
        {explain ? (
          <label class="field">or this text from another baseline
            <select id="other-baseline" value="" onChange={(e) => {
              const baseline = e.currentTarget.value;
              if (baseline) explain(again(result, { [`baseline_${which}`]: baseline })).then((id) => go({ b: id, side: "d" }));
            }}>
              <option value="">choose…</option>
              {BASELINES[which].filter((b) => b !== config[`baseline_${which}`]).map((b) => <option key={b} value={b}>{b}</option>)}
            </select>
          </label>
        ) : null}
        {state.b ? (
          <fieldset class="segments"><legend class="unseen">Drawn</legend>
            {[["a", "a"], ["b", "b"], ["d", "b − a"]].map(([side, text]) => (
              <label key={side}><input type="radio" name="side" checked={state.side === side} onChange={() => go({ side })} />{text}</label>
            ))}
          </fieldset>
        ) : null}
        {state.b && !composed && session.b ? <Texts a={result} b={session.b} alignment={session.alignment} /> : null}
        {map && other && !d ? <p class="warn small">The two have rows or tokens that do not correspond.</p> : null}
        {found ? (
          <>
            <p class="small number">‖b − a‖₂ {digits(found.l2, 4)} · relative {digits(found.relative, 4)} · Pearson {digits(found.pearson, 4)}</p>
            <h3>Changed most, layer {view.layer}</h3>
            <table class="small number"><thead><tr><th>source → target</th><th>a</th><th>b</th><th>b − a</th></tr></thead>
              <tbody>{found.top.map((c) => (
                <tr key={`${c.i} ${c.j}`} onPointerEnter={() => point({ i: c.i, j: c.j })}>
                  <th scope="row">{d!.rows[c.i].text} → {d!.columns[c.j].text} <small>{c.i}, {c.j}</small></th>
                  <td>{digits(c.a, 4)}</td><td>{digits(c.b, 4)}</td><td>{digits(c.b - c.a, 4)}</td></tr>
              ))}</tbody></table>
          </>
        ) : null}
      </div>
    </section>
  );
}

/** The two texts: what only one of them has is marked. */
function Texts({ a, b, alignment }: { a: Result; b: Result; alignment: [number, number][] | null }) {
  const kept = [new Set(alignment?.map(([i]) => i)), new Set(alignment?.map(([, j]) => j))];
  return (
    <div class="texts small">
      {[a, b].map((result, side) => (
        <p key={side} dir="auto"><b>{side ? "b" : "a"}</b> {result.head.model}: {result.labels.map((label, k) => (alignment && !kept[side].has(k)
          ? <mark key={k} title={`${named(label)} is in ${side ? "b" : "a"} alone`}>{label.text} </mark> : <span key={k}>{label.text} </span>))}</p>
      ))}
      <p class="soft">{alignment ? `${kept[0].size} tokens correspond; marked ones are in one text alone.` : "The same tokens."}</p>
    </div>
  );
}

/** The request that a result answers, with some of it changed. */
export function again(result: Result, change: object): object {
  const { layers, granularity, target_tokens: targets, ...rest } = result.head.config ?? {};
  const every = targets?.length === result.labels.length;
  return { text: result.head.text, model: result.head.model, granularity, layers, ...rest, ...(every ? {} : { target_tokens: targets }), ...change };
}

/** Which tokens of two jobs are the same, as the service aligns them; null: all, one by one. */
export async function align(a: Result, b: Result, layer: number): Promise<[number, number][] | null> {
  if (JSON.stringify(a.head.tokens) === JSON.stringify(b.head.tokens)) return null;
  return (await ask(`diff?a=${a.id}&b=${b.id}&layers=${layer}&top_k=0&difference=false`)).alignment;
}
