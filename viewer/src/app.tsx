/** The page: what is asked at the top, the tokens, the layers beside flow and map, what is pinned at the side. */
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { Ask, mark } from "./ask";
import { watchTheme } from "./colours";
import { align, Choice, Compare } from "./compare";
import { Controls } from "./controls";
import { embedded } from "./embedded";
import { Flow } from "./flow";
import { Heads } from "./heads";
import { Help } from "./help";
import { Inspector } from "./inspector";
import { Jobs } from "./jobs";
import { follow, Follower } from "./live";
import { MapPane, zoom } from "./map";
import { plural } from "./numbers";
import type { Result } from "./result";
import { Sentence } from "./sentence";
import { ask, call, FINAL, Job } from "./service";
import { session } from "./session";
import { current, go, listen, restore } from "./state";
import { Strip } from "./strip";
import { COMPOSED, look, View } from "./view";

export type Shell = "live" | "file";

export function App({ shell }: { shell: Shell }) {
  const [, draw] = useReducer((n: number) => n + 1, 0), [status, say] = useState(""), [problem, setProblem] = useState("");
  const [progress, setProgress] = useState<{ done: number; total: number } | null>(null), [running, setRunning] = useState(false);
  const [help, setHelp] = useState(false), [jobs, setJobs] = useState<Job[]>([]);
  const state = current();
  const complain = (error: any): void => {
    const found = error?.problem ?? { detail: error instanceof TypeError ? "the service cannot be reached" : String(error) };
    setProblem(found.detail || found.title);
    say("");
    setProgress(null);
    mark(found);
  };
  useLayoutEffect(() => {
    restore();
    if (shell === "file") {
      const { results, alignment } = embedded();
      Object.assign(session, { a: results[0] ?? null, b: results[1] ?? null, alignment });
      if (results[1] && !state.b) go({ b: "1", view: "compare", side: "d" }, false);
    }
    const off = listen(() => draw(0));
    addEventListener("popstate", restore);
    watchTheme(() => draw(0));
    draw(0);
    return off;
  }, []);

  useEffect(() => {
    if (shell !== "live" || !state.job) return;
    const stop = new AbortController(), { signal } = stop;
    session.a = null;
    setProblem("");
    setRunning(true);
    say("Queued");
    setProgress({ done: 0, total: 0 });
    const follower: Follower = {
      head: (result) => { session.a = result; result.changed = () => draw(0); draw(0); },
      progress: (job) => {
        if (job.status === "queued") return say(job.queue_position ? `Queued, ${job.queue_position} before this one` : "Queued");
        const { phase, done, total, unit } = job.progress;
        say(phase === "computing" ? `Computing: ${done} of ${total} ${unit}` : phase === "loading" ? "Loading the model" : "Working");
        setProgress({ done, total });
      },
      complain,
    };
    follow(state.job, follower, signal)
      .then((job) => say(job.status === "cancelled" ? "Cancelled" : "Done"), (error) => signal.aborted || complain(error))
      .finally(() => { if (!signal.aborted) { setRunning(false); setProgress(null); } });
    return () => stop.abort();
  }, [state.job]);

  const other = state.b in COMPOSED ? "" : state.b, a = session.a;
  useEffect(() => {
    if (shell !== "live" || !other || !a) return;
    const stop = new AbortController(), { signal } = stop;
    Object.assign(session, { b: null, alignment: null });
    const follower: Follower = {
      head: () => {}, progress: (job) => say(job.status === "queued" ? "b is queued" : `b: ${job.progress.done} of ${job.progress.total}`), complain,
    };
    let b: Result | null = null;
    follower.head = (result) => { b = result; result.changed = () => draw(0); };
    follow(other, follower, signal).then(async () => {
      const alignment = await align(a, b!, a.layers[0]);
      if (signal.aborted) return;
      Object.assign(session, { b, alignment });
      say("Done");
      draw(0);
    }).catch((error) => signal.aborted || complain(error));
    return () => stop.abort();
  }, [other, a]);

  const title = a ? `${a.head.text.replace(/\s+/g, " ").slice(0, 80)} · ${a.head.model} · LIG` : "LIG: which tokens feed which?";
  useEffect(() => { if (shell === "live") document.title = title; }, [title]);

  const view = a && a.parts.length && a.layers.length ? look(a, state) : null;
  const latest = useRef<View | null>(view);
  latest.current = view;
  useEffect(() => {
    const press = (e: KeyboardEvent): void => {
      if (e.ctrlKey || e.metaKey || e.altKey || (e.target as Element).closest("input:not([type=checkbox],[type=radio]),textarea,select,dialog")) return;
      if (e.key === "?") { setHelp(true); return; }
      const v = latest.current;
      if (!v) return;
      const turn = (step: number): void => { const next = v.result.layers[v.result.layers.indexOf(v.layer) + step]; if (next !== undefined) go({ layer: next }, false); };
      const heads = ["sum", ...v.heads.map(String)];
      const head = (step: number): void => { if (v.name !== "att") return void (v.names.includes("att") && go({ map: "att" }, false)); go({ head: heads[(heads.indexOf(v.head) + step + heads.length) % heads.length] }, false); };
      const act: Record<string, () => void> = {
        PageUp: () => turn(1), PageDown: () => turn(-1), "[": () => head(-1), "]": () => head(1), t: () => go({ forward: !v.state.forward }),
        s: () => go({ special: !v.state.special }), f: () => zoom(0), Escape: () => go({ pin: -1, second: -1 }),
      };
      if (!act[e.key]) return;
      e.preventDefault();
      act[e.key]();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);

  const explain = async (request: object): Promise<string> => {
    setProblem("");
    say("Sending");
    const job: Job = await ask("explain", { method: "POST", body: request });
    say("");
    return job.id;
  };
  const live = shell === "live";
  const choices: Choice[] = live
    ? jobs.filter((j) => j.id !== state.job && j.status === "succeeded").map((j) => ({ id: j.id, title: `${j.text} · ${j.model}` }))
    : session.b ? [{ id: "1", title: `${session.b.head.text.slice(0, 60)} · ${session.b.head.model}` }] : [];
  if (live && state.b && !(state.b in COMPOSED) && !choices.some((c) => c.id === state.b)) choices.push({ id: state.b, title: session.b ? session.b.head.text : state.b });
  useEffect(() => { if (live && state.view === "compare") ask("jobs?limit=50").then((page) => setJobs(page.jobs)).catch(complain); }, [state.view, state.b]);
  return (
    <>
      <header>
      <div class="top">
        {live ? (
          <>
            <h1><a href="./">LIG</a></h1>
            <Ask head={a?.head ?? null} busy={status === "Sending"} complain={complain} say={say}
              explain={(request) => explain(request).then((id) => go({ job: id, b: "", layer: -1, pin: -1, second: -1, ...(state.view === "compare" ? { view: "flow" } : {}) }))} />
            <Jobs complain={complain} found={setJobs} />
          </>
        ) : <h1 class="text" id="text" dir="auto">{a?.head.text}</h1>}
        <button type="button" class="plain" aria-label="Keys and what is seen" onClick={() => setHelp(true)}>?</button>
      </div>
      <Facts result={a} status={status} progress={progress} cancel={live && running && state.job ? () => ask(`jobs/${state.job}/cancel`, { method: "POST" }).catch(complain) : null} live={live} />
      </header>
      {problem ? <div id="problem" role="alert">{problem}</div> : null}
      {view ? (
        <main class={`views ${state.view}`}>
          <Sentence view={view} />
          <Strip view={view} />
          <Controls view={view} />
          {state.view === "heads" ? <Heads view={view} /> : state.view === "compare"
            ? <Compare view={view} choices={choices} explain={live ? explain : null} /> : <Flow view={view} />}
          <MapPane view={view} />
          <Inspector view={view} />
        </main>
      ) : a ? <p class="hello">This result holds no maps.</p> : live && !state.job ? <Hello /> : null}
      {help ? <Help close={() => setHelp(false)} /> : null}
    </>
  );
}

function Hello() {
  return (
    <main class="hello">
      <h2>Which tokens feed which?</h2>
      <p>Layer-wise Integrated Gradients of a text, layer by layer: how much every token of a layer's input contributed to every token of its
        output, with a certificate of how exact that is. Write a text, press Explain, and pin a token. The same over HTTP: <a href="docs">API</a>.</p>
    </main>
  );
}

interface FactsProps { result: Result | null; status: string; progress: { done: number; total: number } | null; cancel: (() => void) | null; live: boolean }

function Facts({ result, status, progress, cancel, live }: FactsProps) {
  const verdict = result?.verdict, columns = verdict?.columns;
  const all = columns ? Object.values(columns).reduce((s, n) => s + n, 0) : 0;
  return (
    <p class="facts small">
      {result ? <><b>{result.head.model}</b><span>{plural(result.labels.length, result.head.config?.merge_subwords ? "word" : "token")}</span><span>{plural(result.layers.length, "layer")}</span></> : null}
      {verdict ? <span id="verdict" class={verdict.converged ? "good" : "warn"}>{verdict.converged ? "✓ all" : "▲ not all"} {all ? `of ${all} ` : ""}columns converged</span> : null}
      <span role="status" id="status">{status}</span>
      {progress && !FINAL.includes(status) ? <progress id="progress" aria-label="Progress" max={progress.total || undefined} value={progress.total ? progress.done : undefined} /> : null}
      {cancel ? <button type="button" class="plain" id="cancel" onClick={cancel}>Cancel</button> : null}
      {live && result?.verdict ? <a class="end" href={`v1/jobs/${result.id}/result`} id="save-page" onClick={(e) => { e.preventDefault(); void download(result.id); }}>Save as page</a> : null}
    </p>
  );
}

async function download(id: string): Promise<void> {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await call(`jobs/${id}/result`, { accept: "text/html" })).blob());
  link.download = "lig.html";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
