"""Names of what lies in Redis. RQ's hash of a job and its registries are RQ's; all else is ours.

RQ's tools clean up what they find in RQ's keys, by rules of RQ's own: `rq info` takes jobs whose lease ended out of the
registry of those that run. So nothing of ours hangs on that: `rq_waiting` and `rq_running` are there to be counted.

A service is known by its queue: all that it keeps lies under the queue's name, so that several on one database share
nothing. A queue's name has no colon and no character that a pattern could hold (QUEUE_NAME), so that none begins as
another one's keys do. All keys of one service must lie on one server: the scripts compute names of keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto

TASKS = {"explain": "lig.explain", "experiment": "lig.experiment"}
"""The task of a computation, by the kind of its jobs (`lig_core.kinds`). A label only: nothing is ever imported or
called by a name that Redis holds."""
KIND_OF: Mapping[str, str] = {task: kind for kind, task in TASKS.items()}
"""The kind of a task's jobs."""

QUEUE_NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""The pattern of a queue's name."""

PRIORITIES = {"interactive": 1.0, "bulk": 0.125}
"""Weights in the fair queue."""

KEYS = {
    # RQ's hash of a computation, with the fields below; the one kind whose names are those of all queues
    "computation": "rq:job:",
    # RQ's registries of those that ended, by the time they are forgotten
    "finished": "rq:finished:{queue}",
    "failed": "rq:failed:{queue}",
    "canceled": "rq:canceled:{queue}",
    # RQ's list of those that wait, and registry of those that run: as many entries as there are, for RQ's tools. An
    # entry of the list names no job, so that RQ's workers find none; one of the registry never expires
    "rq_waiting": "rq:queue:{queue}",
    "rq_running": "rq:wip:{queue}",
    # RQ's set of the queue's workers, each the key of a hash that expires unless the worker lives
    "workers": "rq:workers:{queue}",
    # hash of a job
    "job": "lig:{queue}:job:",
    # hash of a computation's jobs: job → owner
    "claims": "lig:{queue}:claims:",
    # sorted set of an owner's jobs by their creation; the same of a group, `owner:group`
    "jobs": "lig:{queue}:jobs:",
    "group": "lig:{queue}:group:",
    # set of an owner's unfinished jobs
    "live": "lig:{queue}:live:",
    # the computation to attach to, by digest
    "digest": "lig:{queue}:digest:",
    # hash by `owner:key`: body (its digest), jobs (JSON), group
    "idempotency": "lig:{queue}:idempotency:",
    # sorted sets of computations: by start tag; between taking and start, by the time of taking; and of their attempts,
    # `computation:attempt`, by the end of the lease
    "waiting": "lig:{queue}:waiting",
    "popped": "lig:{queue}:popped",
    "leases": "lig:{queue}:leases",
    # those that wait by priority, by when they were accepted; and a hash of their estimated seconds
    "line": "lig:{queue}:line:",
    "costs": "lig:{queue}:costs",
    # list that idle workers wait at
    "bell": "lig:{queue}:bell",
    # hash of the fair queueing: `time` (virtual), and the finish tag of each flow `owner:priority`
    "flows": "lig:{queue}:flows",
    # estimated seconds of the unfinished computations
    "backlog": "lig:{queue}:backlog",
    # hash of an owner's limits: `at` (of its rate), and the next free times: `promised|gate`, `again|gate`; and of
    # those of the queue itself
    "limits": "lig:{queue}:limits:",
    "queue_limits": "lig:{queue}:queue_limits",
    # sorted set of refused callers by the time they were told to come back: `gate:owner:digest`
    "promises": "lig:{queue}:promises",
    # sorted set of the computations given up because their worker died too often, by expiry
    "dead": "lig:{queue}:dead",
    # stream of a computation's events
    "events": "lig:{queue}:events:",
    # channel on which every change of a computation is told
    "channel": "lig:{queue}:change:",
    # a part of a result: `computation:attempt:part`
    "blob": "lig:{queue}:result:",
    # hash of the models that workers have without the hub: what identifies their content (lig_core.models.identity)
    # by name; empty where it has not been read
    "models": "lig:{queue}:models",
    # there while the backlog need not be counted anew
    "healed": "lig:{queue}:healed",
    # sorted set of the jobs whose end is to be told to their webhook, by when that is due
    "webhooks": "lig:{queue}:webhooks",
    # hash of what was counted: lig_core.serving.queue.counters
    "counters": "lig:{queue}:counters",
    # hash of the measured rate: `work` units and the `seconds` they took, both fading with each job
    "rate": "lig:{queue}:rate",
}
"""Each kind of key; one that ends in a colon is followed by a name. The scripts get these too: see common.lua."""

TYPES_OF_QUEUE = {
    **dict.fromkeys(("leases", "finished", "failed", "canceled", "dead", "waiting", "popped", "promises"), "zset"),
    **dict.fromkeys(("rq_waiting", "bell"), "list"),
    **dict.fromkeys(("costs", "flows", "queue_limits", "models", "counters", "rate"), "hash"),
    **dict.fromkeys(("backlog", "healed"), "string"),
    "webhooks": "zset",
    "rq_running": "zset",
    "workers": "set",
}
"""Redis's type of each key that there is one of."""

RQ_QUEUES = "rq:queues"
"""RQ's set of all queues, each the key of its list: what `rq info` shows."""

PROBE = "lig:probe"
"""Never there, so no queue's: it is asked for a write that changes nothing, to see whether Redis takes writes."""


class Field(StrEnum):
    """Fields of the hashes, and of the entries of streams; the scripts get them as `FIELD.<name>`.

    JSON, numbers, 1 or text. Times are seconds since the epoch by Redis's clock.
    """

    # RQ's own of a computation
    STATUS = auto()
    DATA = auto()  # the task and the request, as JSON; in a stream, that of an event
    ORIGIN = auto()
    DESCRIPTION = auto()
    TIMEOUT = auto()
    RESULT_TTL = auto()
    FAILURE_TTL = auto()
    RETRIES_LEFT = auto()
    WORKER_NAME = auto()
    # added to it: what it is, as it was accepted
    DIGEST = auto()
    MODEL = auto()
    DTYPE = auto()
    REFERENCE = auto()  # JSON: the model that the name was resolved to: lig_core.models.references
    IDENTITY = auto()  # of the model's content, as the request was accepted with it: lig_core.models.identity
    SHARES = auto()  # equal for those whose texts may share a sequence; absent: it is computed alone
    TOKENS = auto()  # of its text
    TRACEPARENT = auto()  # of the request that made it; in a job, of its own
    FIRST_JOB = auto()
    COST = auto()
    WORK = auto()
    FLOW = auto()
    WEIGHT = auto()
    EXPIRED_TTL = auto()
    MAX_EVENTS = auto()
    START_BY = auto()
    END_BY = auto()
    # and what became of it
    QUEUED = auto()
    STARTED = auto()
    ENDED = auto()
    ATTEMPTS = auto()
    PASSED = auto()  # how often others went before it
    CANCEL_REQUESTED = auto()
    FORGET = auto()
    PROGRESS = auto()
    PROGRESS_FORGOTTEN = auto()
    COMPUTED_WITH = auto()  # the identity of the model of the attempt that stored what is stored
    HEAD = auto()  # JSON: ref, size, stored_size
    LAYER = "layer:"  # and the layer's index; JSON: the same with index and converged
    WAIT_SECONDS = auto()
    LOAD_SECONDS = auto()
    COMPUTE_SECONDS = auto()
    ERROR = auto()
    WINNER = auto()  # the end that was written, and the lease that it was written under
    # of a job
    COMPUTATION = auto()
    OWNER = auto()
    CREATED_AT = auto()
    COALESCED = auto()
    GROUP = auto()
    WEBHOOK = auto()
    WEBHOOK_ATTEMPTS = auto()
    CANCELLED_AT = auto()
    CANCELLED_AFTER = auto()
    # of an event, beside `data`
    KIND = auto()
    # of an idempotency key, beside `group`
    BODY = auto()
    JOBS = auto()
    # of the rate, beside `work`; of limits; of the flows
    SECONDS = auto()
    AT = auto()
    TIME = auto()
    # RQ's own of a worker, and added to them: the models in its memory and the bytes used, as JSON
    PID = auto()
    HOSTNAME = auto()
    STATE = auto()
    HOLDS = auto()


def key(kind: str, queue: str, name: str | None = None) -> str:
    """A key of the service with this queue; `kind` is one of KEYS, and `name` belongs to those that end in a colon."""
    beginning = KEYS[kind].replace("{queue}", queue)
    if beginning.endswith(":") is (name is None):
        raise TypeError(f"a key of the kind '{kind}' takes {'a' if name is None else 'no'} name")
    return beginning + (name or "")


def blob_key(queue: str, computation: str, attempt: str, part: str) -> str:
    """Where one attempt writes a part of the result; readers follow the pointer of the attempt that won."""
    return key("blob", queue, f"{computation}:{attempt}:{part}")


def lease_member(computation: str, attempt: str) -> str:
    """An attempt in the leases."""
    return f"{computation}:{attempt}"
