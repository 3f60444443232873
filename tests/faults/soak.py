"""An hour of everything clients do, with pairs of faults in it; memory, descriptors and Redis's keys must not grow.

    python -m tests.faults.soak MINUTES [SEED]

Real workers explain with minilm, in both precisions; results are read in every format, events followed, jobs
cancelled, deleted, sent twice and sent to fail. Results expire soon here, so that keys level out within the run.

What was killed cannot have grown, so some processes are spared: the first API, the first worker with its models, and
the second worker, whose models are killed. They live through every outage and freeze. The second API and the third
worker are killed themselves. Writes benchmarks/soak.json and benchmarks/soak.md.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import httpx
import psutil
from redis.exceptions import RedisError

from lig_core.client import Client
from lig_core.errors import LigError, ServiceError
from lig_core.models.catalog import find_model
from lig_core.serving.queue.workers import live_workers
from tests.faults import keys, truth, verdicts
from tests.faults.campaign import CRASH_RETRIES, draw_pair
from tests.faults.faults import Victims, all_faults
from tests.faults.report import OUT, keep_log, rows
from tests.faults.stack import REAL_WORKER, Stack
from tests.faults.verdicts import Verdict

KEPT_SECONDS = 30
"""Longer than any outage, so that a client comes back in time for its result."""
EXPIRING = ("LIG_RESULT_TTL", "LIG_FAILURE_TTL", "LIG_EXPIRED_TTL", "LIG_IDEMPOTENCY_TTL")
EXPIRY_SECONDS = 3 * KEPT_SECONDS + 90.0
"""How long after the last job every key of a job is gone: it and what is known of it have expired, a minute on top."""
WARM_UP_SECONDS = 120.0
"""Left out of a process's life, and of one with models from when it has loaded both precisions: caches fill."""
CLIENTS = 3
"""So that the jobs of a frozen worker do not hold up everything."""
PACE_SECONDS, SAMPLE_SECONDS, BETWEEN_PAIRS_SECONDS = 0.3, 5.0, 15.0
END_SECONDS = 180.0
"""How long a job may take in all; later, it is stuck."""
ANSWER_SECONDS = 60.0
"""How long all APIs may refuse or be silent."""
GROWTH = {"rss": (1.05, 0), "fds": (1.10, 2)}
"""How much the end of a process's life may exceed its beginning, as a factor or by so much: medians of its quarters; of
processes with models, whose memory swings by a third with the jobs that they run, the most of its halves."""
LEAST_SAMPLES = 24
"""Of a process that is compared with itself."""
SPARED = ("rss API 1", "rss worker 1", "rss models 1", "rss worker 2")
"""What must have been compared."""
OF_JOBS = ("computation", "job", "claims", "group", "live", "digest", "idempotency", "events", "blob")
OF_UNFINISHED = ("waiting", "popped", "leases", "costs", "webhooks")
"""Kinds of keys of which none is left in the end: what there are many of, and what there is one of."""
WORDS = (3, 8, 20, 45)
FORMATS = ("json", "ndjson", "npz", "safetensors")
MODEL, DAMAGED = "minilm", "damaged"
VERDICTS = {"job_not_found": Verdict.LOST, "job_expired": Verdict.LOST, "result_expired": Verdict.GONE}
"""What the service's words mean for a job that it accepted."""


class Balancer(httpx.BaseTransport):
    """Sends each request to one of the APIs, and to the next one where that does not answer or cannot take it."""

    def __init__(self, urls: Sequence[str], dice: Random) -> None:
        self._urls, self._dice = [httpx.URL(url) for url in urls], dice
        self._transport = httpx.HTTPTransport(retries=0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            for url in self._dice.sample(self._urls, len(self._urls)):
                request.url = request.url.copy_with(port=url.port)
                request.headers["Host"] = url.netloc.decode()
                try:
                    answer = self._transport.handle_request(request)
                except httpx.TransportError:
                    if time.monotonic() > deadline:
                        raise
                    continue
                if answer.status_code != 503 or time.monotonic() > deadline:
                    return answer
                answer.close()
            time.sleep(0.2)

    def close(self) -> None:
        self._transport.close()


class Load:
    """One of several clients: it does in turn whatever clients do, and judges what it gets."""

    def __init__(self, client: Client, name: int) -> None:
        self.client, self.name = client, name
        self.done: Counter[str] = Counter()
        self.found: Counter[Verdict] = Counter()
        self.wrong: list[str] = []
        self.accepted = 0
        self._number = name  # they do not all do the same at a time

    def work(self, until: float) -> None:
        """One thing after another."""
        while time.monotonic() < until:
            self.step()
            time.sleep(PACE_SECONDS)

    def step(self) -> None:
        """The next thing."""
        doings: tuple[Callable[[], None], ...] = (
            self._result, self._events, self._cancelled, self._batch, self._twice, self._deleted, self._failing,
        )  # fmt: skip
        doing = doings[self._number % len(doings)]
        name = doing.__name__.removeprefix("_")
        try:
            doing()
        except ServiceError as error:
            verdict = VERDICTS.get(error.problem.get("code", ""), Verdict.WRONGLY_FAILED)
            self._judge(verdict, f"{name}: {error.problem.get('code')}: {error.detail}")
        except TimeoutError as error:
            self._judge(Verdict.STUCK, f"{name}: {error}")
        except LigError as error:
            self.wrong.append(f"{name}: {error.code}: {error.detail}")
        self._number += 1
        self.done[name] += 1

    def _judge(self, verdict: Verdict, what: str) -> None:
        self.found[verdict] += 1
        if verdict is not Verdict.RIGHT:
            self.wrong.append(f"{verdict}: {what}")

    def _submit(self, text: str | None = None, **fields: Any) -> tuple[str, str]:
        """The job's id and its text."""
        text = text or f"{' '.join(['word'] * WORDS[self._number % len(WORDS)])} {self._number} {self.name}"
        dtype = "float64" if self._number % 5 == 0 else "float32"
        job = self.client.submit(text, **{"model": MODEL, "dtype": dtype, **fields})
        self.accepted += 1
        return job["id"], text

    def _succeeds(self, job_id: str, text: str) -> None:
        """It ends with its own result."""
        job = self.client.wait(job_id, timeout=END_SECONDS)
        if job["status"] != "succeeded":
            self._judge(Verdict.WRONGLY_FAILED, f"{job_id} '{text}': {job['status']} {job.get('problem')}")
            return
        own = is_of(self.client.result(job_id), text)
        self._judge(Verdict.RIGHT if own else Verdict.OF_ANOTHER, f"{job_id} '{text}'")

    def _result(self) -> None:
        job_id, text = self._submit()
        self._succeeds(job_id, text)
        assert self.client.result(job_id, format=FORMATS[self._number % len(FORMATS)])

    def _events(self) -> None:
        job_id, text = self._submit(granularity=["layer"])
        kinds = [event.name for event in self.client.events(job_id)]
        told, there = kinds.count("layer"), find_model(MODEL).config["num_hidden_layers"]
        if told != there:
            self.wrong.append(f"events of {job_id}: {told} layers of {there}")
        self._succeeds(job_id, text)

    def _cancelled(self) -> None:
        job_id, text = self._submit()
        with contextlib.suppress(ServiceError):  # it had ended already
            self.client.cancel(job_id)
        if self.client.wait(job_id, timeout=END_SECONDS)["status"] == "cancelled":
            self._judge(Verdict.RIGHT, job_id)
        else:
            self._succeeds(job_id, text)

    def _batch(self) -> None:
        texts = [f"text {self._number} {self.name} {place}" for place in range(3)]
        jobs = self.client.batch(texts, model=MODEL, layers=[0])["jobs"]
        self.accepted += len(jobs)
        for job, text in zip(jobs, texts, strict=True):
            self._succeeds(job["id"], text)

    def _twice(self) -> None:
        first, second = self._submit(layers=[1]), self._submit(layers=[1])
        self._succeeds(*first)
        self._succeeds(*second)
        assert self.client.diff(first[0], second[0])

    def _deleted(self) -> None:
        self.client.delete(self._submit()[0])
        self._judge(Verdict.RIGHT, "")

    def _failing(self) -> None:
        job_id, text = self._submit(model=DAMAGED)
        job = self.client.wait(job_id, timeout=END_SECONDS)
        own = job["status"] == "failed" and DAMAGED in job["problem"]["detail"]
        self._judge(Verdict.RIGHT if own else Verdict.WRONGLY_FAILED, f"{job_id} '{text}': {job.get('problem')}")


def is_of(result: Mapping[str, Any], text: str) -> bool:
    """Whether a result is of this text, by its tokens."""
    pieces = (token.removeprefix("##") for token in result["tokens"][1:-1])
    return "".join(pieces) == text.replace(" ", "")


@dataclass
class Life:
    """What was measured of one process."""

    began: float
    ended: float
    values: dict[str, list[float]] = field(default_factory=lambda: {"rss": [], "fds": []})

    @property
    def minutes(self) -> float:
        return (self.ended - self.began) / 60


class Lives:
    """What was measured of each process of a stack; one that was started anew is another one."""

    def __init__(self) -> None:
        self._lives: dict[tuple[str, int], Life] = {}
        self._full: set[int] = set()

    def sample(self, stack: Stack) -> None:
        for member in stack.members:
            if member.running:
                self._measure(member.name, psutil.Process(member.pid))
        for number, worker in enumerate(stack.workers, 1):
            models = worker.child()
            if models is not None and self._is_full(stack, worker.pid, models.pid):
                self._measure(f"models {number}", models)

    def _is_full(self, stack: Stack, worker: int, models: int) -> bool:
        """True from when the process has held the model in both precisions, and cannot load more."""
        if models not in self._full:
            with contextlib.suppress(RedisError), stack.redis.connect() as redis:
                held = {each.pid: each.models for each in live_workers(redis, keys.QUEUE)}
                if {model["dtype"] for model in held.get(worker, ())} == {"float32", "float64"}:
                    self._full.add(models)
        return models in self._full

    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each role the process that lived longest: its life's beginning and end."""
        longest: dict[str, Life] = {}
        for (name, _), life in self._lives.items():
            longest[name] = max(longest.get(name, life), life, key=lambda each: len(each.values["rss"]))
        return {
            f"{kind} {name}": figure(kind, values, swings=name.startswith("models"))
            | {"minutes": round(life.minutes, 1)}
            for name, life in sorted(longest.items())
            for kind, values in life.values.items()
            if len(values) >= LEAST_SAMPLES
        }

    def _measure(self, name: str, process: psutil.Process) -> None:
        now = time.monotonic()
        with contextlib.suppress(psutil.Error):
            found = {"rss": process.memory_info().rss, "fds": process.num_fds()}
            life = self._lives.setdefault((name, process.pid), Life(now, now))
            life.ended = now
            if now - life.began > WARM_UP_SECONDS:
                for kind, value in found.items():
                    life.values[kind].append(value)


def figure(kind: str, values: Sequence[float], *, swings: bool) -> dict[str, Any]:
    """Whether what was measured one after the other stayed flat."""
    part, of_part = (len(values) // 2, max) if swings else (len(values) // 4, statistics.median)
    first, last = of_part(values[: max(1, part)]), of_part(values[-max(1, part) :])
    factor, more = GROWTH[kind]
    return {
        "first": round(first),
        "last": round(last),
        "most": round(max(values)),
        "samples": len(values),
        "flat": last <= max(first * factor, first + more),
    }


@contextlib.contextmanager
def beside(do: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do this again and again, so many seconds apart, until the block ends."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def make_damaged_model(folder: Path) -> None:
    """minilm's configuration and tokenizer beside weights that are none."""
    source = Path(find_model(MODEL).source)
    shutil.copytree(source, folder / DAMAGED, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "onnx", "*.onnx"))
    (folder / DAMAGED / "model.safetensors").write_bytes(b"not weights")


def keys_of_jobs(redis: Any) -> list[str]:
    prefixes, whole = tuple(keys.of(kind, "") for kind in OF_JOBS), {keys.of_queue(kind) for kind in OF_UNFINISHED}
    return [key for raw in redis.scan_iter() if (key := raw.decode()).startswith(prefixes) or key in whole]


def soak(minutes: float, seed: int) -> dict[str, Any]:
    dice = Random(seed)
    lives, pairs = Lives(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="lig-soak-") as place:
        folder = Path(place)
        make_damaged_model(folder / "models")
        told = dict.fromkeys(EXPIRING, str(KEPT_SECONDS)) | {
            "LIG_MODELS_FOLDER": str(folder / "models"),
            "LIG_PRELOAD": json.dumps([MODEL]),
            "LIG_EVENT_CACHE_BYTES": str(2**20),  # 64 times less than usual: it is full when the warm-up ends
            "LIG_CRASH_RETRIES": CRASH_RETRIES,
            "OMP_NUM_THREADS": "1",
        }
        with Stack(folder, workers=3, apis=2, worker=REAL_WORKER, **told) as stack, stack.kept_up():
            began = time.monotonic()
            stack.wait_until_ready()
            # No pair comes while a process loads after the one before: after three deaths in a row a worker gives up.
            pause = max(BETWEEN_PAIRS_SECONDS, time.monotonic() - began)
            victims = Victims(workers=stack.workers[2:], models=stack.workers[1:2], apis=stack.apis[1:])
            faults, choice, hits = all_faults(stack, victims, scripted=False), Random(dice.random()), dice.random()
            hit_dice = Random(hits)

            def break_two() -> None:
                pair = draw_pair(faults, choice)
                pair.hit(hit_dice)
                pairs[pair.name] += 1

            dices = [Random(dice.random()) for _ in range(CLIENTS)]
            with contextlib.ExitStack() as open_now, beside(lambda: lives.sample(stack), SAMPLE_SECONDS):
                loads = [
                    Load(open_now.enter_context(Client(transport=Balancer(stack.urls, each))), name)
                    for name, each in enumerate(dices)
                ]
                until = time.monotonic() + minutes * 60
                with beside(break_two, pause), ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(Load.work, loads, [until] * CLIENTS))
                with stack.redis.connect() as redis:
                    most_keys = redis.dbsize()
                    time.sleep(EXPIRY_SECONDS)
                    kept = {"at_end": most_keys, "after_expiry": redis.dbsize(), "of_jobs": keys_of_jobs(redis)}
            found = sum((load.found for load in loads), Counter[Verdict]())
            result = {
                "minutes": minutes,
                "seed": seed,
                "pause_seconds": round(pause, 1),
                "steps": dict(sum((load.done for load in loads), Counter[str]())),
                "pairs": dict(pairs),
                "accepted": sum(load.accepted for load in loads),
                **{str(verdict): found[verdict] for verdict in Verdict},
                "published_twice": truth.doubled(stack.redis.append_only_file(), ())["published_twice"],
                "not_as_promised": [words for load in loads for words in load.wrong],
                "exits": [str(ended) for ended in stack.exits],
                "figures": lives.figures(),
                "keys": kept,
            }
        if faults_of(result):
            keep_log(folder, OUT / "soak.log")
        return result


def faults_of(result: dict[str, Any]) -> list[str]:
    """The promises that were broken."""
    found = verdicts.broken(result)
    if result["published_twice"]:
        found.append(f"doubled {result['published_twice']}")
    if result["not_as_promised"]:
        found.append(f"not as promised: {result['not_as_promised'][:5]}")
    if result["exits"]:
        found.append(f"processes that ended by themselves: {', '.join(result['exits'])}")
    found += [f"{name} grew" for name, row in result["figures"].items() if not row["flat"]]
    found += [f"{name} was not alive long enough to compare" for name in SPARED if name not in result["figures"]]
    if result["keys"]["of_jobs"]:
        found.append(f"keys left: {result['keys']['of_jobs']}")
    return found


def page(result: dict[str, Any]) -> str:
    """The figures in words."""
    left = result["keys"]
    steps = ", ".join(f"{count} × {name}" for name, count in result["steps"].items())
    heads = {"accepted": "jobs accepted", "right": "right"}
    heads |= {str(verdict): meaning for verdict, meaning in verdicts.MEANING.items()} | {"published_twice": "doubled"}
    lines = [
        [name, row["minutes"], f"{row['first']:,}", f"{row['last']:,}", f"{row['most']:,}",
         "yes" if row["flat"] else "**no**"]
        for name, row in result["figures"].items()
    ]  # fmt: skip
    broken = faults_of(result)
    return f"""# {result["minutes"]:g} minutes on end, with pairs of faults

`make soak MINUTES={result["minutes"]:g} SEED={result["seed"]}`: two APIs, three workers with minilm in both \
precisions, Redis with appendfsync always. What {CLIENTS} clients did, one thing after another: {steps}. Meanwhile \
{sum(result["pairs"].values())} pairs of faults were injected, {result["pause_seconds"]:g} s apart.
Results and failures were kept for {KEPT_SECONDS} s; the cache of events held 1 MiB, so that it was full early.

{rows(list(heads.values()), [[result[name] for name in heads]])}

{"Every promise was kept." if not broken else f"**Broken: {'; '.join(broken)}.**"}

API 1, worker 1 with its models, and worker 2 were never killed, but for the models of worker 2; they lived through \
every outage and freeze. Of the others the process that lived longest is shown, where it lived long enough. Medians of \
the first and the last quarter of a process's life, after {WARM_UP_SECONDS:g} s of warming up; of processes with models,
whose memory swings with the jobs that they run, the most of its first and its last half.
Flat: no more than {GROWTH["rss"][0] - 1:.0%} more memory, {GROWTH["fds"][0] - 1:.0%} or {GROWTH["fds"][1]} more \
descriptors.

{rows(["what", "minutes alive", "beginning", "end", "most", "flat"], lines)}

Redis held {left["at_end"]} keys at the end, and {left["after_expiry"]} when the last results had expired \
({EXPIRY_SECONDS:g} s after the last job), {len(left["of_jobs"])} of them of a job.

{rows(["pair", "times"], sorted(result["pairs"].items()))}
"""


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else SystemRandom().randrange(2**32)
    least = (WARM_UP_SECONDS + LEAST_SAMPLES * SAMPLE_SECONDS) / 60
    if minutes < least:
        sys.exit(f"a run takes at least {least:g} minutes")
    print(f"seed {seed}", flush=True)
    result = soak(minutes, seed)
    OUT.mkdir(exist_ok=True)
    (OUT / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
    (OUT / "soak.md").write_text(page(result))
    print(json.dumps(result, indent=1))
    if broken := faults_of(result):
        sys.exit(f"seed {seed}: " + "; ".join(broken))


if __name__ == "__main__":
    main()
