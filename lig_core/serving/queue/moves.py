"""Every move of a computation from one state to another, as workers make them.

    waiting ── take ──> popped ── start ──> leased ── finish, fail, cancel ──> ended
      ^                   │                   │
      └──── give back ────┴── crash, give back ┘

"leased" is RQ's registry of started jobs, scored by the end of the lease, with one member per attempt. Each move is one
script that does nothing unless the computation is still where the mover saw it, so of two movers one wins, and a move
is there entirely or not at all. Leases and all times are by the clock of Redis, not by those of several machines.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from redis import Redis
from rq.job import Job

from lig_core.contract import MOST_PACKED
from lig_core.errors import LigError
from lig_core.serving.queue import blobs, names
from lig_core.serving.queue.counters import buckets
from lig_core.serving.queue.job_errors import Crashed, JobDamaged
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.scripts import Scripts

log = logging.getLogger(__name__)

WINDOW_SECONDS = 30.0
"""Estimated seconds of work by which a computation whose model a worker holds may overtake the first in line."""
DEPTH = 32
"""How far into the queue a worker looks for one."""
PASSES = 8
"""How often the first in line may be overtaken."""
MOST_TOGETHER = 8
"""Computations that one sequence is shared by, at most: of more, the masked attention costs what sharing saves."""


@dataclass(frozen=True)
class Place:
    """In a sorted set, with a score of at most `latest`: a lease by its end, say."""

    key: str
    member: str
    latest: float = math.inf

    def as_argument(self) -> dict[str, Any]:
        """The place as the scripts take it."""
        latest = None if math.isinf(self.latest) else self.latest
        return {"key": self.key, "member": self.member, "latest": latest}


@dataclass(frozen=True)
class Run:
    """One attempt at a computation, under a lease."""

    queue: str
    computation: str
    execution: str

    @property
    def place(self) -> Place:
        """Held for as long as nobody else took the computation over."""
        return Place(names.key("leases", self.queue), names.lease_member(self.computation, self.execution))


@dataclass(frozen=True)
class Started:
    """An attempt as it has to know it: RQ's job, the fields added to it, and the time by Redis's clock."""

    job: Job
    fields: Mapping[str, str]
    time: float

    @property
    def may_share(self) -> bool:
        """True where others may go into its sequence: it never ran before, and a crash of theirs would not end it."""
        first, last = self.fields[Field.ATTEMPTS] == "1", self.fields.get(Field.RETRIES_LEFT, "0") == "0"
        return Field.SHARES in self.fields and first and not last

    @property
    def about(self) -> dict[str, Any]:
        """The fields of log lines about the attempt; the trace is that of the request that made the computation."""
        trace = self.fields.get(Field.TRACEPARENT)
        trace_id = trace.partition("-")[2].partition("-")[0] if trace else None
        return {"job_id": self.job.id, "trace_id": trace_id, "attempt": int(self.fields[Field.ATTEMPTS])}


@dataclass(frozen=True)
class Done:
    """An attempt that succeeded; durations in seconds, of computing together with others its share."""

    load: float = 0.0  # loading the model; only where it was not in memory
    compute: float = 0.0
    loaded: bool = False
    whole: bool = True  # no layer was left from an earlier attempt


@dataclass(frozen=True)
class Part:
    """A stored part of a result: the head, or a layer."""

    name: str
    ref: str
    size: int
    stored_size: int
    index: int | None = None
    converged: bool = True
    nodes: Mapping[int, int] = field(default_factory=dict)  # how often each number of nodes was needed
    unconverged: int = 0  # columns

    def pointer(self) -> str:
        """All that readers need of it, as JSON."""
        pointer: dict[str, Any] = {"ref": self.ref, "size": self.size, "stored_size": self.stored_size}
        if self.index is not None:
            pointer |= {"index": self.index, "converged": self.converged}
        return json.dumps(pointer)


class Moves:
    """Moves a queue's computations; every method says whether the computation was still there to be moved."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._redis, self._queue = redis, queue
        self._scripts = Scripts(redis, queue)

    def take(self, holds: Iterable[tuple[str, str]] = ()) -> str | None:
        """From waiting to popped: the first in line, or one close behind whose (model, dtype) is held."""
        choice = {"holds": [list(each) for each in holds], "window": WINDOW_SECONDS, "depth": DEPTH, "passes": PASSES}
        while (taken := self._scripts.call("computation/take", **choice)) is not None:
            with contextlib.suppress(UnicodeDecodeError):
                return str(taken.decode())
            self._redis.zrem(names.key("popped", self._queue), taken)  # nobody's here
        return None

    def take_along(self, computation: str) -> list[str]:
        """From waiting to popped: those next in line whose texts may share the sequence of one that was started.

        They have a share of the workers at most, and MOST_PACKED tokens with it; only such as may share one themselves
        are passed by for it.
        """
        limits = {"most": MOST_TOGETHER, "tokens": MOST_PACKED, "depth": DEPTH}
        return [taken.decode() for taken in self._scripts.call("computation/take_along", first=computation, **limits)]

    def wait(self, seconds: float) -> None:
        """Return when something may have come to wait, or after `seconds`."""
        self._redis.blpop([names.key("bell", self._queue)], seconds)

    def start(self, run: Run, worker: str, lease: float) -> Started | None:
        """From popped to leased, for `lease` seconds; None if it was given back or cancelled meanwhile."""
        answer = self._call("computation/start", run.place, run.computation, worker=worker, lease=lease)
        if answer is None:
            return None
        time, flat = answer
        raw = dict(zip(flat[::2], flat[1::2], strict=True))
        job = Job(run.computation, connection=self._redis, serializer="json")
        try:
            job.restore(raw)
            fields = {name.decode(): value.decode() for name, value in raw.items() if name != Field.DATA.encode()}
            return Started(job, fields, float(time))
        except Exception as error:  # RQ's reading of what may be anything
            raise JobDamaged(f"what is stored of it cannot be read ({type(error).__name__})") from error

    def holds(self, run: Run) -> bool:
        """True while the attempt has its lease."""
        return self._redis.zscore(run.place.key, run.place.member) is not None

    def renew(self, run: Run, lease: float) -> bool:
        """Hold the lease for another `lease` seconds."""
        return bool(self._call("computation/renew", run.place, run.computation, lease=lease))

    def report(self, run: Run, progress: str) -> bool:
        """Note how far the attempt has come, as JSON."""
        return bool(self._call("computation/report", run.place, run.computation, progress=progress))

    def use_files(self, run: Run, identity: str | None, held_as: str | None = None) -> frozenset[int] | None:
        """The attempt computes with a model of this content; the layers that earlier attempts left. None without the
        lease.

        What an earlier attempt stored of other content is dropped: no result is of two models. `held_as` is the name of
        a model that the worker has without the hub, for those who do not see its files.
        """
        parts = self._call("computation/use_files", run.place, run.computation, identity=identity, held_as=held_as)
        return None if parts is None else frozenset(int(part.decode().removeprefix(Field.LAYER)) for part in parts)

    def add_part(self, run: Run, part: Part, stored: bytes) -> bool:
        """Store the part, compressed: it is the computation's; of several attempts that store it, the first one's."""
        return bool(
            self._scripts.call_after(
                lambda pipe: blobs.write(pipe, part.ref, stored),
                "computation/add_part",
                place=run.place.as_argument(),
                computation=run.computation,
                part=part.name,
                ref=part.ref,
                pointer=part.pointer(),
                event="{}" if part.index is None else part.pointer(),
                nodes=list(buckets("nodes", part.nodes).items()),
                nodes_sum=sum(nodes * times for nodes, times in part.nodes.items()),
                unconverged=part.unconverged,
            )
        )

    def finish(self, run: Run, done: Done) -> bool:
        """The attempt succeeded; the parts that were added are the result."""
        return self._settle(run.place, run.computation, "finished", **asdict(done))

    def fail(self, place: Place, computation: str, error: LigError | Mapping[str, Any], *, dead: bool = False) -> bool:
        """It failed for good; `dead` makes it a dead letter as well."""
        document = json.dumps(error.as_dict() if isinstance(error, LigError) else dict(error))
        return self._settle(place, computation, "failed", error=document, dead=dead)

    def cancel(self, place: Place, computation: str) -> bool:
        """It is cancelled; it stays visible for as long as a failure, unless it is to be forgotten."""
        return self._settle(place, computation, "canceled")

    def crashed(self, place: Place, computation: str, *, abandoned: bool = False) -> bool:
        """The process that ran it died: queue it again, or give up when that happened too often.

        After its first crash it is next, for machines fail; after more it may be its own fault, and others go before
        it. `abandoned`: the worker is gone as well.
        """
        values: Any = self._redis.hmget(
            names.key("computation", self._queue, computation),
            [Field.CANCEL_REQUESTED, Field.ATTEMPTS, Field.RETRIES_LEFT],
        )
        cancelled, attempts, retries_left = (int(value or 0) for value in values)
        if cancelled:
            return self.cancel(place, computation)
        if retries_left > 0:
            return self._queue_again(place, computation, front=attempts <= 1, crashed=True, abandoned=abandoned)
        error = Crashed(
            f"the process computing this job died, in each of {attempts} attempts; the worker's log may say why. "
            "Ask for fewer layers or a shorter text"
        )
        return self.fail(place, computation, error, dead=True)

    def give_back(self, place: Place, computation: str, *, started: bool) -> bool:
        """Back to the head of the queue, as if it had not been taken."""
        return self._queue_again(place, computation, front=True, started=started)

    def run_alone(self, place: Place, computation: str) -> bool:
        """Back to the head of the queue after an attempt together with others, which is not its last for that."""
        return self._queue_again(place, computation, front=True)

    def spoil(self, computation: str) -> None:
        """It fails, wherever it is, because what Redis holds of it is damaged."""
        error = JobDamaged("what Redis held of this job was not what was put there; send it again")
        document, priorities = json.dumps(error.as_dict()), list(names.PRIORITIES)
        self._scripts.call("upkeep/spoil", computation=computation, error=document, priorities=priorities)
        log.error("what is stored of it is damaged, so it failed", extra={"job_id": computation})

    def _settle(self, place: Place, computation: str, status: str, **details: Any) -> bool:
        return bool(self._call("computation/settle", place, computation, status=status, **details))

    def _queue_again(self, place: Place, computation: str, **details: Any) -> bool:
        return bool(self._call("computation/requeue", place, computation, **details))

    def _call(self, script: str, place: Place, computation: str, **details: Any) -> Any:
        return self._scripts.call(script, place=place.as_argument(), computation=computation, **details)
