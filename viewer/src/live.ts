/** A job as it runs: its layers are fetched as they come, and of each of them what is looked at. */
import { Head, Part, Result, Verdict } from "./result";
import { ask, call, events, FINAL, Job, Problem, Refusal } from "./service";
import { parse } from "./tensors";

export class LiveResult extends Result {
  readonly parts: Part[];
  private readonly computed = new Set<number>();
  private readonly asked = new Set<string>();

  constructor(id: string, head: Head, private readonly stop: AbortSignal, private readonly complain: (error: unknown) => void) {
    super(id, head, head.config!.layers);
    this.parts = head.config!.granularity;
  }
  done(layer: number): boolean {
    return this.computed.has(layer);
  }
  missing(part: Part): string | null {
    return this.parts.includes(part) ? null : `This job was not asked for ${part} maps: choose them under “more”, and explain again.`;
  }
  want(layer: number, part: Part): void {
    const name = `${layer} ${part}`;
    if (!this.computed.has(layer) || this.asked.has(name) || !this.parts.includes(part)) return;
    this.asked.add(name);
    call(`jobs/${this.id}/result?layers=${layer}&maps=${part}`, { accept: "application/vnd.safetensors", signal: this.stop })
      .then((answer) => answer.arrayBuffer())
      .then((file) => {
        this.add(layer, parse(file).layers.get(layer) ?? {});
        this.changed();
      })
      .catch((error) => this.stop.aborted || this.complain(error));
  }
  finish(layer: number): void {
    this.computed.add(layer);
    this.version++;
    this.changed();
  }
  end(verdict: Verdict): void {
    this.verdict = verdict;
    this.layers.forEach((layer) => this.computed.add(layer));
    this.version++;
    this.changed();
  }
}

export interface Follower {
  head(result: LiveResult): void;
  progress(job: Pick<Job, "status" | "progress" | "queue_position">): void;
  complain(error: unknown): void;
}

/** Follow a job to its end: resolves with the job as it ended. */
export async function follow(id: string, follower: Follower, signal: AbortSignal): Promise<Job> {
  let result: LiveResult | null = null;
  const begin = (head: Head): LiveResult => {
    result = new LiveResult(id, head, signal, follower.complain);
    follower.head(result);
    return result;
  };
  for await (const { name, data } of events(id, signal)) {
    if (name === "head" && !result) begin(data);
    else if (name === "layer") (result as LiveResult | null)?.finish(data.layer);
    else if (name === "progress") follower.progress({ status: "running", progress: data, queue_position: null });
    else if (FINAL.includes(name)) break;
  }
  // What ended, how and why is the job's to say; where there are no events, this follows it to its end.
  let job: Job = await ask(`jobs/${id}?embed=false`, { signal });
  while (!FINAL.includes(job.status)) {
    follower.progress(job);
    job = await ask(`jobs/${id}?wait=20&embed=false`, { signal });
  }
  if (job.status === "failed") throw new Refusal(job.problem as Problem);
  if (job.status === "succeeded") {
    if (!result) {
      const file = await (await call(`jobs/${id}/result?top_k=1`, { accept: "application/vnd.safetensors", signal })).arrayBuffer();
      begin(JSON.parse(parse(file).metadata.head));
    }
    (result as LiveResult | null)!.end({ converged: job.converged });
  }
  return job;
}
