"""Jobs sent and computed by hand, one move after the other, without a worker's processes."""

import itertools

import orjson

from lig_core.contract import ExplainRequest
from lig_core.serving.queue import blobs, names
from lig_core.serving.queue.moves import Done, Moves, Part, Run
from lig_core.serving.queue.names import Field
from service.jobs.job import Limits, Submission
from service.jobs.redis_store import RqJobStore
from service.settings import Settings

QUEUE = "lig"
NO_LIMITS = Limits()
NUMBERS = itertools.count()


def asked(text=None, *, cost=1.0, digest=None, priority="interactive", model="minilm", **more):
    """A submission; without a text, one like no other."""
    text = text or f"text {next(NUMBERS)}"
    request = ExplainRequest(text=text, model=model, priority=priority)
    return Submission(request, digest or text, cost, **more)


class ByHand:
    """A store, and the worker's side of it."""

    def __init__(self, redis_url, redis, **settings):
        found = Settings(**settings)
        self.redis, self.queue = redis, found.queue
        self.store = RqJobStore(redis_url, found)
        self.moves = Moves(redis, self.queue)

    def send(self, owner, *submissions, limits=NO_LIMITS, **how):
        return self.store.submit(owner, submissions or [asked()], limits=limits, **how)

    def send_one(self, owner="ada", submission=None, **how):
        (job,) = self.send(owner, submission or asked(), **how).jobs
        return job

    def take(self, *held):
        return self.moves.take(held)

    def run(self, computation):
        return Run(self.queue, computation, f"by-hand-{next(NUMBERS)}")

    def start(self, computation=None, lease=30):
        run = self.run(computation or self.take())
        assert self.moves.start(run, "by hand", lease)
        return run

    def add_part(self, run, name, plain, index=None, **more):
        ref = names.blob_key(self.queue, run.computation, run.execution, name)
        stored = blobs.compressed(plain)
        return self.moves.add_part(run, Part(name, ref, len(plain), len(stored), index, **more), stored)

    def add_layer(self, run, index, **more):
        return self.add_part(run, f"layer:{index}", b"layer %d" % index, index, **more)

    def finish(self, run, layers=2, compute=1.0, **more):
        self.add_part(run, "head", b'{"text": "x"}')
        for index in range(layers):
            self.add_layer(run, index)
        assert self.moves.finish(run, Done(compute=compute, **more))

    def finish_with(self, run, result):
        """Finish with a result's head and layers."""
        self.add_part(run, "head", orjson.dumps(result.head))
        for layer in result:
            self.add_arrays(run, layer)
        self.end(run)

    def end(self, run):
        assert self.moves.finish(run, Done(compute=1.0))

    def add_arrays(self, run, layer):
        plain = layer.to_bytes()
        assert self.add_part(run, f"layer:{layer.index}", plain, layer.index, converged=layer.converged)

    def compute(self):
        """Take and finish the first in line; its computation."""
        run = self.start()
        self.finish(run)
        return run.computation

    def worker_alive(self, name="w1"):
        self.redis.sadd(names.key("workers", self.queue), f"rq:worker:{name}")
        self.redis.hset(f"rq:worker:{name}", mapping={"pid": 1, Field.HOLDS: "{}"})
