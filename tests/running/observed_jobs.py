"""The job store as tests of the API want it: they see what it was asked, and do the workers' part of it by hand."""

import orjson

from lig_core.serving.queue import names
from lig_core.serving.queue.moves import Place
from service.jobs.redis_store import RqJobStore
from service.settings import Settings
from tests.running.by_hand import ByHand


class ObservedJobs(RqJobStore):
    """`submissions`, the `idempotency` of the last, and how often a job was `read`; `failure` is raised at the next."""

    def __init__(self, redis_url, redis):
        settings = Settings()
        super().__init__(redis_url, settings)
        self.by_hand, self.queue = ByHand(redis_url, redis), settings.queue
        self.submissions, self.idempotency, self.read, self.failure = [], None, 0, None

    def submit(self, owner, submissions, **options):
        if self.failure:
            raise self.failure
        self.submissions += submissions
        self.idempotency = options.get("idempotency")
        return super().submit(owner, submissions, **options)

    def get(self, owner, job_id):
        self.read += 1
        return super().get(owner, job_id)

    def send(self, owner, submission):
        return self.by_hand.send_one(owner, submission)

    def only(self, owner="anonymous"):
        """The one job of an owner."""
        (job,) = self.list(owner, limit=2).jobs
        return job

    def finish(self, job_id, head, layers=()):
        """The job succeeded; `head` is the result without its layers."""
        run = self.start(job_id)
        self.by_hand.add_part(run, "head", orjson.dumps(head))
        for layer in layers:
            self.by_hand.add_arrays(run, layer)
        self.by_hand.end(run)

    def fail(self, job_id, error):
        run = self.start(job_id)
        assert self.by_hand.moves.fail(run.place, run.computation, error)

    def set_workers(self, count):
        redis, key = self.by_hand.redis, names.key("workers", self.queue)
        redis.delete(key)
        for number in range(count):
            self.by_hand.worker_alive(f"w{number}")

    def measure(self, rate):
        """Workers took so many seconds per unit of work."""
        measured = {names.Field.WORK: 1.0, names.Field.SECONDS: rate}
        self.by_hand.redis.hset(names.key("rate", self.queue), mapping=measured)

    def hold_models(self, models):
        """Workers have these models without the hub, and no others."""
        redis, key = self.by_hand.redis, names.key("models", self.queue)
        redis.delete(key)
        redis.hset(key, mapping=models)

    def start(self, job_id):
        """Out of its turn: what was taken before it goes back to where it was."""
        wanted, others = super().get(None, job_id).computation, []
        while (taken := self.by_hand.take()) != wanted:
            assert taken is not None, "it does not wait"
            others.append(taken)
        popped = names.key("popped", self.queue)
        for computation in reversed(others):
            assert self.by_hand.moves.give_back(Place(popped, computation), computation, started=False)
        return self.by_hand.start(wanted)
