/** What is drawn, and how much of it. */
import { TITLES } from "./maps";
import { go, State } from "./state";
import type { View } from "./view";

export function Controls({ view }: { view: View }) {
  const { state, names, name, heads, head, layer, result } = view;
  const slide = (key: "k" | "least" | "path" | "scale") => (e: Event): void => go({ [key]: Number((e.target as HTMLInputElement).value) } as Partial<State>, false);
  return (
    <form class="controls panel small" aria-label="What is drawn" onSubmit={(e) => e.preventDefault()}>
      <fieldset class="segments"><legend class="unseen">View</legend>
        {[["flow", "Flow"], ["heads", "Heads"], ["compare", "Compare"]].map(([value, text]) => (
          <label key={value}><input type="radio" name="view" value={value} checked={state.view === value} onChange={() => go({ view: value })} />{text}</label>
        ))}
      </fieldset>
      <label>Layer <select id="layer" value={layer} onChange={(e) => go({ layer: Number(e.currentTarget.value) })}>
        {result.layers.map((l) => <option key={l} value={l}>{l}</option>)}</select></label>
      <label>Map <select id="map-name" value={name} onChange={(e) => go({ map: e.currentTarget.value })}>
        {names.map((n) => <option key={n} value={n}>{TITLES[n]}</option>)}</select></label>
      {name === "att" && heads.length > 1 ? (
        <label>Head <select id="head" value={head} onChange={(e) => go({ head: e.currentTarget.value })}>
          <option value="sum">all, summed</option>{heads.map((h) => <option key={h} value={h}>{h}</option>)}</select></label>
      ) : null}
      {state.view === "flow" ? (
        <>
          <fieldset class="segments"><legend class="unseen">Direction</legend>
            <label><input type="radio" name="direction" checked={!state.forward} onChange={() => go({ forward: false })} />into</label>
            <label><input type="radio" name="direction" checked={state.forward} onChange={() => go({ forward: true })} />from</label>
          </fieldset>
          <label>edges a token <input type="range" id="k" min="1" max="8" value={state.k} onInput={slide("k")} /> <output>{state.k}</output></label>
          <label>share ≥ <input type="range" id="least" min="0" max="50" value={state.least} onInput={slide("least")} /> <output>{state.least} %</output></label>
          <label title="The product of shares along a path has no certificate; it only hides edges.">path ≥ <input type="range" id="path" min="0" max="20" value={state.path} onInput={slide("path")} aria-describedby="path-note" /> <output>{state.path} %</output>
            <span class="soft" id="path-note"> product of shares, no certificate</span></label>
        </>
      ) : null}
      <label><input type="checkbox" id="special" checked={state.special} onChange={() => go({ special: !state.special })} /> {result.labels.some((l) => l.special) ? "hide special tokens" : "hide the first token"}</label>
      <label><input type="checkbox" id="share" checked={state.share} onChange={() => go({ share: !state.share })} /> as shares</label>
      <label>colours end at <select id="scale" value={state.scale} onChange={(e) => go({ scale: Number(e.currentTarget.value) })}>
        <option value="90">90 %</option><option value="98">98 %</option><option value="100">the largest</option></select></label>
    </form>
  );
}
