/** The caller's jobs, the newest first. */
import { useRef, useState } from "preact/hooks";
import { ask, Job } from "./service";
import { go } from "./state";

interface Props { complain: (error: unknown) => void; found: (jobs: Job[]) => void }

export function Jobs({ complain, found }: Props) {
  const [jobs, setJobs] = useState<Job[] | null>(null), ref = useRef<HTMLDetailsElement>(null);
  const load = (): void => {
    if (!ref.current!.open) return;
    ask("jobs?limit=50").then((page) => { setJobs(page.jobs); found(page.jobs); }).catch(complain);
  };
  return (
    <details class="more" id="jobs" ref={ref} onToggle={load} onKeyDown={(e) => { if (e.key === "Escape") ref.current!.open = false; }}>
      <summary>jobs</summary>
      <div class="sheet panel">
        {jobs && !jobs.length ? <p class="soft">No jobs yet.</p> : null}
        <ul>
          {jobs?.map((job) => (
            <li key={job.id}><button type="button" class="plain" onClick={() => { ref.current!.open = false; go({ job: job.id, b: "", layer: -1, pin: -1, second: -1 }); }}>
              <span dir="auto">{job.text}</span> <small class="soft">{job.model} · {job.status}{job.converged === false ? " ▲" : ""} · {new Date(job.created_at).toLocaleString()}</small></button></li>
          ))}
        </ul>
      </div>
    </details>
  );
}
