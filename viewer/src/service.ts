/** Calls of the service that this page came from. */

export interface Problem { detail?: string; title?: string; code?: string; errors?: { pointer: string; detail: string }[] }
export interface Job {
  id: string;
  status: string;
  created_at: string;
  converged: boolean | null;
  queue_position: number | null;
  progress: { phase: string; done: number; total: number; unit: string };
  model: string;
  text: string;
  problem?: Problem;
}
export interface Event { name: string; data: any }

export const FINAL = ["succeeded", "failed", "cancelled"];
const RECONNECTS = 20;

export class Refusal extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
  }
}

/** The key stays in this variable: it is in no link, no storage and no file. */
let key = "";
export const useKey = (value: string): void => { key = value.trim(); };
const headers = (more: Record<string, string>): Record<string, string> => (key ? { ...more, Authorization: `Bearer ${key}` } : more);

interface Options { method?: string; accept?: string; body?: unknown; signal?: AbortSignal }

export async function call(path: string, { method = "GET", accept = "application/json", body, signal }: Options = {}): Promise<Response> {
  const content: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(`v1/${path}`, {
    method, signal, cache: "no-store", headers: headers({ Accept: accept, ...content }), body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.ok) return answer;
  const problem: Problem = await answer.json().catch(() => ({ detail: `the service answered ${answer.status}` }));
  const wait = answer.headers.get("Retry-After");
  if (wait && [429, 503].includes(answer.status)) problem.detail += ` (try again in ${wait} s)`;
  throw new Refusal(problem);
}
export const ask = async (path: string, options?: Options): Promise<any> => (await call(path, options)).json();

/** The events of a job, without maps, from the first one; a broken stream is taken up where it broke. */
export async function* events(id: string, signal: AbortSignal): AsyncGenerator<Event> {
  let last: string | null = null;
  for (let attempt = 0; attempt < RECONNECTS; attempt++) {
    const answer = await fetch(`v1/jobs/${id}/events?layers=false`, {
      signal, cache: "no-store", headers: headers({ Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) }),
    });
    if (!answer.ok || !(answer.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) return;
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        buffer += value.replace(/\r/g, "");
        const blocks = buffer.split("\n\n");
        buffer = blocks.pop()!;
        for (const block of blocks) {
          const event: Record<string, string> = { data: "" };
          for (const line of block.split("\n")) {
            const [, name, content] = /^(\w+): ?(.*)$/.exec(line) ?? [];
            if (name === "data") event.data += content;
            else if (name) event[name] = content;
          }
          if (event.id) last = event.id;
          if (!event.event) continue;
          yield { name: event.event, data: JSON.parse(event.data || "{}") };
          if (FINAL.includes(event.event)) return;
          attempt = 0;
        }
      }
    } catch (error) {
      if (signal.aborted || !(error instanceof TypeError)) throw error; // a TypeError: the connection broke
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
