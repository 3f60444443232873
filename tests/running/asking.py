"""Every way to ask about a job over HTTP, and jobs in every state to ask about."""

import uuid
from dataclasses import dataclass, field

import orjson
from fastapi import routing

from lig_core.errors import NotConverged
from lig_core.result.formats import FORMATS
from lig_core.serving.queue import names
from tests.support.made_results import made_head, made_layer, made_result

EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Ask:
    """A request about JOB, by a caller whose own finished job is OWN."""

    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


OPEN = {"/", "/docs", "/docs/assets", "/openapi.json", "/livez", "/startupz", "/readyz"}
"""What needs no key."""

ABOUT_A_JOB = {
    ("GET", "/jobs/{job_id}"): [Ask(), Ask({"wait": "30"}), Ask({"embed": "false"})],
    ("GET", "/jobs/{job_id}/result"): [
        *(Ask(headers={"Accept": form.media_type}) for form in FORMATS.values()),
        Ask({"layers": "0", "maps": "layer", "targets": "1", "heads": "0", "top_k": "1"}),
        Ask({"layers": "99"}),
        Ask(headers={"Accept-Encoding": "gzip"}),
        Ask(headers={"If-None-Match": "*"}),
    ],
    ("GET", "/jobs/{job_id}/events"): [
        Ask(),
        Ask({"layers": "false"}),
        Ask({"after": "1-0"}),
        Ask(headers={"Last-Event-ID": "1-0"}),
        Ask(headers={"Last-Event-ID": "99999999999999-0"}),
    ],
    ("GET", "/jobs/{job_id}/flow"): [
        Ask(),
        Ask({"map": "product", "graph": "true", "layers": "0"}),
        Ask(headers={"Accept": "application/graphml+xml"}),
    ],
    ("GET", "/diff"): [
        Ask({"a": "JOB", "b": "OWN"}),
        Ask({"a": "OWN", "b": "JOB"}),
        Ask({"a": "JOB", "b": "JOB", "layers": "0", "maps": "layer", "top_k": "1"}),
    ],
    ("POST", "/jobs/{job_id}/cancel"): [Ask()],
    ("DELETE", "/jobs/{job_id}"): [Ask()],
}
"""By method and path without its version. The last one forgets the job."""


def answer_about(call, method, path, how, job_id, own):
    """What is answered about a job, but for its id."""
    params = {name: {"JOB": job_id, "OWN": own}.get(value, value) for name, value in how.params.items()}
    answer = call(method, path.replace("{job_id}", job_id), params=params, headers=how.headers)
    headers = {
        name: value.replace(job_id, "JOB")
        for name, value in answer.headers.items()
        if name not in {"traceparent", "date"}
    }
    return answer.status_code, headers, answer.content.replace(job_id.encode(), b"JOB")


def never():
    return uuid.uuid4().hex


def jobs_in_every_state(b, owner):
    """One job of an owner in each state that a job can be in."""

    def begin():
        job = b.send_one(owner)
        return job, b.start()

    found = {}
    for state in ("succeeded", "own", "expired", "forgotten"):
        found[state], run = begin()
        b.finish_with(run, made_result())
    b.redis.delete(names.key("computation", b.queue, found["expired"].computation))
    b.store.delete(owner, found["forgotten"].id)
    found["failed"], run = begin()
    b.moves.fail(run.place, run.computation, NotConverged("raise rtol"))
    found["cancelled"] = b.send_one(owner)
    b.store.cancel(owner, found["cancelled"].id)
    found["running"], run = begin()
    b.add_part(run, "head", orjson.dumps(made_head()))
    b.add_arrays(run, made_layer(0))
    found["queued"] = b.send_one(owner)
    return found


def versions(path):
    return (path, f"/v1{path}")


def routes(app):
    """Every method and path that needs a key, of routers in the application as well."""
    flat = getattr(routing, "iter_route_contexts", iter)  # older FastAPI keeps its routes flat
    for route in flat(app.routes):
        if route.path not in OPEN:
            yield from ((method, route.path) for method in route.methods - {"HEAD"})


def ways_to_ask():
    """Every method at every path about a job, and how."""
    for path in {path for _, path in ABOUT_A_JOB}:
        for method in EVERY_METHOD:
            for how in ABOUT_A_JOB.get((method, path), [Ask()]):
                yield from ((method, place, how) for place in versions(path))
