"""Names of what lies in Redis. RQ's hash of a job and its registries are RQ's; what is added to them is here.

All keys of one service must lie on one server: the scripts compute names of keys.
"""

from __future__ import annotations

TASK = "lig.explain"
"""What every computation names. A label only: nothing is ever imported or called by a name that Redis holds."""

PRIORITIES = {"interactive": 1.0, "bulk": 0.125}
"""Weights in the fair queue."""

PREFIXES = {
    # RQ's hash of a computation, with the fields below
    "computation": "rq:job:",
    # RQ's registries of a queue: `leases` has a member `computation:attempt` by the end of its lease; the others
    # have those that ended, by the time they are forgotten
    "leases": "rq:wip:",
    "finished": "rq:finished:",
    "failed": "rq:failed:",
    "canceled": "rq:canceled:",
    # RQ's set of a queue's workers, each the key of a hash that expires unless the worker lives
    "workers": "rq:workers:",
    # hash of a job: computation, owner, created_at, coalesced, group, webhook, cancelled_at, cancelled_after
    "job": "lig:job:",
    # hash of a computation's jobs: job → owner
    "claims": "lig:claims:",
    # sorted set of an owner's jobs by their creation; the same of a group, `owner:group`
    "jobs": "lig:jobs:",
    "group": "lig:group:",
    # set of an owner's unfinished jobs
    "live": "lig:live:",
    # the computation to attach to, by digest
    "digest": "lig:digest:",
    # hash by `owner:key`: body (its digest), jobs (JSON), group
    "idempotency": "lig:idempotency:",
    # sorted sets of a queue's computations: by start tag; and between taking and start, by the time of taking
    "waiting": "lig:waiting:",
    "popped": "lig:popped:",
    # the same by priority, `queue:priority`, by when they were accepted; and a hash of their estimated seconds
    "line": "lig:line:",
    "costs": "lig:costs:",
    # list that idle workers wait at
    "bell": "lig:bell:",
    # hash of a queue's fair queueing: `time` (virtual), and the finish tag of each flow `owner:priority`
    "flows": "lig:flows:",
    # estimated seconds of a queue's unfinished computations
    "backlog": "lig:backlog:",
    # hash of an owner's limits: `at` (of its rate), and the next free times: `promised|gate`, `again|gate`; and of a
    # queue's, `:queue`
    "limits": "lig:limits:",
    # sorted set of refused callers of a queue by the time they were told to come back: `gate:owner:digest`
    "promises": "lig:promises:",
    # sorted set of the computations given up because their worker died too often, by expiry
    "dead": "lig:dead:",
    # stream of a computation's events
    "events": "lig:events:",
    # channel on which every change of a computation is told
    "channel": "lig:change:",
    # a part of a result: `computation:attempt:part`
    "blob": "lig:result:",
    # there while a queue's backlog need not be counted anew
    "healed": "lig:healed:",
}
"""What each kind of key begins with; the scripts get these too."""

TYPES_OF_QUEUE = {
    **dict.fromkeys(("leases", "finished", "failed", "canceled", "dead", "waiting", "popped", "promises"), "zset"),
    **dict.fromkeys(("costs", "flows"), "hash"),
    **dict.fromkeys(("backlog", "healed"), "string"),
    "workers": "set",
    "bell": "list",
}
"""Redis's type of each key that there is one of for a queue."""

PROBE = "lig:probe"
"""Never there: it is asked for a write that changes nothing, to see whether Redis takes writes."""

WEBHOOKS = "lig:webhooks"
"""Sorted set of the jobs whose end is to be told to their webhook, by when that is due."""

COUNTERS = "lig:counters"

RATE = "lig:rate"
"""Hash of the measured rate: `work` units and the `seconds` they took, both fading with each job."""

# Fields added to RQ's hash of a job: JSON, numbers, 1 or text. Times are seconds since the epoch by Redis's clock.
PROGRESS = "progress"
ERROR = "error"
ATTEMPTS = "attempts"
CANCEL = "cancel_requested"
FORGET = "forget"
FIRST = "first_job"
HEAD = "head"  # JSON: ref, size, stored_size
LAYER = "layer:"  # and the layer's index; JSON: the same with index and converged
START_BY = "start_by"
END_BY = "end_by"
TRACEPARENT = "traceparent"  # of the request that made it
MODEL = "model"
FILES = "files"  # of the model, as the request was checked against them: lig_core.catalog.files_fingerprint
COMPUTED_WITH = "computed_with"  # the same of the attempt that stored what is stored

HOLDS = "holds"
"""Added to RQ's hash of a worker: the models in its memory and the bytes used, as JSON."""


def key(kind: str, name: str) -> str:
    """A key; `kind` is one of PREFIXES."""
    return PREFIXES[kind] + name


def blob_key(computation: str, attempt: str, part: str) -> str:
    """Where one attempt writes a part of the result; readers follow the pointer of the attempt that won."""
    return f"{PREFIXES['blob']}{computation}:{attempt}:{part}"


def lease_member(computation: str, attempt: str) -> str:
    """An attempt in the leases."""
    return f"{computation}:{attempt}"
