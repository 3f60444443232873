/** The form that asks for an explanation. */
import { useEffect, useRef, useState } from "preact/hooks";
import { bytes, plural } from "./numbers";
import type { Head } from "./result";
import { ask, Problem, Refusal, useKey } from "./service";

const MAPS = [["layer", "layer (z→z′)"], ["att", "att (z→u, per head)"], ["mlp", "mlp (u→z′)"], ["composed", "composed (att∘mlp)"]];
const CHOICES: [string, string, string[]][] = [
  ["baseline_layer", "Baseline of layer", ["self_input_token", "zero", "itb_zero_ratio"]],
  ["baseline_att", "Baseline of att", ["self_input_token", "zero", "itb_zero_ratio", "itb_map_ratio"]],
  ["baseline_mlp", "Baseline of mlp", ["zero", "att_itb_a0"]],
  ["u_node", "u", ["residual", "heads"]],
  ["rtol", "Tolerance", ["0.01", "0.001", "0.0001"]],
];
const at = <E extends HTMLElement = HTMLInputElement>(id: string): E => document.getElementById(id) as E;

/** 0, 3-5 as numbers. */
function layersAsked(said: string): number[] {
  const layers: number[] = [];
  for (const part of said.split(",").map((p) => p.trim()).filter(Boolean)) {
    const range = /^(\d+)(?:\s*-\s*(\d+))?$/.exec(part), [first, last] = [Number(range?.[1]), Number(range?.[2] ?? range?.[1])];
    if (!range || last < first || last - first > 1000) {
      const detail = `'${part}' is no layer; write numbers and ranges, such as 0, 3-5`;
      throw new Refusal({ detail, errors: [{ pointer: "/layers", detail }] });
    }
    for (let layer = first; layer <= last; layer++) if (!layers.includes(layer)) layers.push(layer);
  }
  return layers;
}

function request(): object {
  const maps = [...document.querySelectorAll<HTMLInputElement>("[name=maps]:checked")].map((box) => box.value);
  const layers = layersAsked(at("layers").value);
  return {
    text: at("text").value, model: at("model").value.trim(), granularity: maps, merge_subwords: at("merge_subwords").checked,
    ...Object.fromEntries(CHOICES.map(([id]) => [id, id === "rtol" ? Number(at(id).value) : at(id).value])), ...(layers.length ? { layers } : {}),
  };
}

/** Marks the fields that a problem is about, and goes to the first. */
export function mark(problem: Problem): void {
  const fields = (problem.errors ?? []).map(({ pointer }) => at(pointer.split("/")[1])).filter(Boolean);
  if (["unauthorized", "forbidden"].includes(problem.code ?? "")) fields.push(at("key"));
  for (const field of fields) field.setAttribute("aria-invalid", "true");
  const more = fields[0]?.closest("details");
  if (more) more.open = true;
  (fields[0]?.matches("fieldset") ? fields[0].querySelector("input") : fields[0])?.focus();
}

interface Props { head: Head | null; busy: boolean; explain: (request: object) => Promise<unknown>; complain: (error: unknown) => void; say: (text: string) => void }

export function Ask({ head, busy, explain, complain, say }: Props) {
  const [models, setModels] = useState<string[]>([]), [keyHint, setHint] = useState("Only where the service asks for one. It stays in this page.");
  const box = useRef<HTMLTextAreaElement>(null), more = useRef<HTMLDetailsElement>(null);
  const fill = (): void => {
    ask("models").then(({ models: found }) => setModels(found.map((m: { id: string }) => m.id)))
      .catch((error) => { if (error.problem?.code === "unauthorized") setHint("This service asks for a key. It stays in this page."); });
  };
  useEffect(fill, []);
  const grow = (): void => { const b = box.current!; b.style.height = "auto"; b.style.height = `${Math.min(b.scrollHeight + 2, 120)}px`; };
  useEffect(() => {
    if (head) {
      const { config = {} } = head;
      box.current!.value = head.text;
      at("model").value = head.model;
      for (const [id] of CHOICES) if (config[id] !== undefined) at(id).value = String(config[id]);
      for (const input of document.querySelectorAll<HTMLInputElement>("[name=maps]")) input.checked = config.granularity?.includes(input.value);
      at("merge_subwords").checked = Boolean(config.merge_subwords);
    }
    grow();
  }, [head]);
  const attempt = async (what: () => Promise<unknown>): Promise<void> => {
    for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    try { await what(); } catch (error) { complain(error); }
  };
  const estimate = (): Promise<void> => attempt(async () => {
    const found = await ask("explain/estimate", { method: "POST", body: request() });
    say(`Estimate: ${[`${found.tokens_exact ? "" : "about "}${plural(found.tokens, "token")}`,
      found.seconds === null ? "" : `about ${found.seconds < 1 ? "a second" : `${Math.ceil(found.seconds)} s`} of computing`,
      found.result_json_bytes === null ? "" : `a result of about ${bytes(found.result_json_bytes)}`].filter(Boolean).join(", ")}.`);
  });
  return (
    <form class="ask" id="form" aria-label="What to explain" onSubmit={(e) => { e.preventDefault(); more.current!.open = false; void attempt(() => explain(request())); }}>
      <textarea id="text" ref={box} rows={1} required aria-label="Text" placeholder="A sentence or a paragraph" onInput={grow}
        onKeyDown={(e) => { if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); at<HTMLFormElement>("form").requestSubmit(); } }}>The trophy did not fit into the suitcase because it was too large.</textarea>
      <input id="model" list="models" defaultValue="minilm" required spellcheck={false} autocapitalize="off" aria-label="Model" />
      <datalist id="models">{models.map((id) => <option key={id} value={id} />)}</datalist>
      <details class="more" ref={more} onKeyDown={(e) => { if (e.key === "Escape") more.current!.open = false; }}>
        <summary>more</summary>
        <div class="sheet panel">
          <fieldset id="granularity"><legend>Maps</legend>
            {MAPS.map(([value, text]) => <label key={value}><input type="checkbox" name="maps" value={value} defaultChecked={value === "layer"} /> {text}</label>)}
            <p class="soft small">att and mlp give one map for every target: the result grows with the text's length squared.</p>
          </fieldset>
          <label>Layers <input id="layers" placeholder="all, or such as 0, 3-5" inputMode="numeric" /></label>
          {CHOICES.map(([id, title, values]) => <label key={id}>{title} <select id={id}>{values.map((v) => <option key={v} selected={v === "0.001"}>{v}</option>)}</select></label>)}
          <label><input type="checkbox" id="merge_subwords" /> by words, not subwords</label>
          <label>Key <input id="key" type="password" autocomplete="off" spellcheck={false} aria-describedby="key-hint" onInput={(e) => useKey(e.currentTarget.value)} onChange={fill} />
            <span class="soft small" id="key-hint">{keyHint}</span></label>
          <button type="button" id="estimate" onClick={estimate}>Estimate</button>
        </div>
      </details>
      <button class="main" id="explain" disabled={busy}>Explain</button>
    </form>
  );
}
