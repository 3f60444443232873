"""The contract of a job store: what each method of JobStore promises, kept by the store that there is.

A class here is named for the method that all of its tests call.
"""

import asyncio
import re

import pytest

from lig_core.errors import InvalidRequest
from lig_core.serving.queue import names
from lig_core.serving.queue.durability import UnfitRedis
from lig_core.serving.queue.job_errors import Crashed, IdempotencyMismatch, QueueFull, QuotaExceeded
from lig_core.serving.queue.names import Field
from service.http.errors import JobEnded, JobExpired, JobNotFound, ResultExpired, StoreUnavailable
from service.jobs.job import JobStatus, JobStore, Limits, Watch
from service.jobs.redis import JobWatch
from service.jobs.redis_store import RqJobStore
from service.settings import Settings
from tests.running.by_hand import asked
from tests.running.waiting import PATIENCE, pass_time
from tests.support.closeness import assert_close

PROTOCOLS = {JobStore: RqJobStore, Watch: JobWatch}
HOOK = "https://a.example/hook"


def members(protocol):
    return {name for name in vars(protocol) if not name.startswith("_")}


def snake(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@pytest.fixture(autouse=True)
def exercised(request, monkeypatch):
    """Each test of a class calls the method that the class is named for."""
    if request.cls is None:
        yield
        return
    name, calls = snake(request.cls.__name__.removeprefix("Test")), []
    (kind,) = (kind for protocol, kind in PROTOCOLS.items() if name in members(protocol))
    kept = getattr(kind, name)

    def noted(*arguments, **options):
        calls.append(name)
        return (kept.fget if isinstance(kept, property) else kept)(*arguments, **options)

    monkeypatch.setattr(kind, name, property(noted) if isinstance(kept, property) else noted)
    yield
    assert calls, f"nothing called {name}"


@pytest.fixture
def b(by_hand):
    return by_hand()


def fail(b, job):
    run = b.start()
    assert run.computation == job.computation
    assert b.moves.fail(run.place, run.computation, Crashed("it died"), dead=True)


def jobs_of(b, owner="ada", **how):
    return [job.id for job in b.store.list(owner, limit=9, **how).jobs]


def test_every_method_has_its_contract_here():
    classes = {snake(name.removeprefix("Test")) for name in globals() if name.startswith("Test")}
    assert classes == set().union(*map(members, PROTOCOLS))


class TestSubmit:
    def test_what_is_sent_is_queued_in_its_order_and_told_back(self, b):
        sent = [asked(cost=2.5, webhook=HOOK, traceparent="00-a-b-01"), asked(priority="bulk")]
        accepted = b.send("ada", *sent)
        assert (accepted.replayed, accepted.group) == (False, None)
        for job, submission in zip(accepted.jobs, sent, strict=True):
            assert (job.request, job.work_digest, job.cost) == (
                submission.request,
                submission.work_digest,
                submission.cost,
            )
            assert (job.webhook, job.traceparent) == (submission.webhook, submission.traceparent)
            assert (job.owner, job.status, job.attempts) == ("ada", JobStatus.QUEUED, 0)
            assert not (job.coalesced or job.cancel_requested or job.started_at or job.finished_at)
        assert len({job.id for job in accepted.jobs}) == len({job.computation for job in accepted.jobs}) == 2

    def test_all_are_accepted_or_none(self, b):
        b.send_one("ada")
        with pytest.raises(QuotaExceeded) as caught:
            b.send("ada", asked(), asked(), limits=Limits(concurrency=2))
        assert caught.value.retry_after > 0
        assert (len(jobs_of(b)), b.store.load().waiting) == (1, 1)

    def test_more_than_the_owner_may_ever_have_is_no_matter_of_waiting(self, b):
        with pytest.raises(InvalidRequest) as caught:
            b.send("ada", asked(), asked(), limits=Limits(concurrency=1))
        assert caught.value.retry_after is None
        assert jobs_of(b) == []

    def test_a_full_queue_says_when_to_come_back(self, by_hand):
        b = by_hand(max_backlog=10)
        b.send_one("ada", asked(cost=9))
        with pytest.raises(QueueFull) as caught:
            b.send_one("bob", asked(cost=9))
        assert caught.value.retryable and caught.value.retry_after > 0
        assert jobs_of(b, "bob") == []

    def test_one_owner_s_quota_is_not_another_s(self, b):
        b.send_one("ada", limits=Limits(concurrency=1))
        with pytest.raises(QuotaExceeded):
            b.send_one("ada", limits=Limits(concurrency=1))
        b.send_one("bob", limits=Limits(concurrency=1))

    def test_a_key_sent_again_gives_what_it_gave_at_first(self, b):
        first, again = (b.send("ada", asked("x"), idempotency=("key", "body"), group=True) for _ in range(2))
        assert (again.replayed, again.group) == (True, first.group)
        assert [job.id for job in again.jobs] == [job.id for job in first.jobs] == jobs_of(b)

    def test_a_key_with_another_body_is_a_mismatch_but_of_another_owner(self, b):
        b.send("ada", asked(), idempotency=("key", "body"))
        with pytest.raises(IdempotencyMismatch):
            b.send("ada", asked(), idempotency=("key", "another"))
        assert not b.send("bob", asked(), idempotency=("key", "another")).replayed
        assert len(jobs_of(b)) == 1

    def test_equal_work_is_done_once_for_all_who_ask(self, b):
        one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
        assert (one.computation, one.coalesced, two.coalesced) == (two.computation, False, True)
        assert one.id != two.id
        b.compute()
        late = b.send_one("eve", asked("same"))
        assert (late.status, late.coalesced) == (JobStatus.SUCCEEDED, True)
        assert b.take() is None

    def test_fresh_work_is_run_although_the_same_was(self, b):
        old = b.send_one("ada", asked("same"))
        b.compute()
        new = b.send_one("ada", asked("same", fresh=True))
        assert (new.status, new.computation == old.computation) == (JobStatus.QUEUED, False)


class TestGet:
    def test_a_job_is_shown_as_it_stands_through_its_life(self, b):
        first, job = b.send_one("ada"), b.send_one("ada")
        assert (b.store.get("ada", first.id).queue_position, b.store.get("ada", job.id).queue_position) == (0, 1)
        b.compute()
        run = b.start()
        running = b.store.get("ada", job.id)
        assert (running.status, running.attempts, running.queue_position) == (JobStatus.RUNNING, 1, None)
        assert running.started_at >= running.created_at
        b.finish(run, layers=2, compute=1.5)
        done = b.store.get("ada", job.id)
        assert (done.status, done.timings.compute, done.converged) == (JobStatus.SUCCEEDED, 1.5, True)
        assert [layer.index for layer in done.layers] == [0, 1]
        assert done.result_size == done.head.size + sum(layer.size for layer in done.layers)
        assert done.finished_at >= done.started_at

    def test_a_failed_job_says_why(self, b):
        job = b.send_one("ada")
        fail(b, job)
        shown = b.store.get("ada", job.id)
        assert (shown.status, shown.error["code"], shown.result_size) == (JobStatus.FAILED, Crashed.code, None)

    def test_another_owner_is_told_nothing_and_the_operator_all(self, b):
        job = b.send_one("ada")
        with pytest.raises(JobNotFound):
            b.store.get("bob", job.id)
        with pytest.raises(JobNotFound):
            b.store.get("ada", "never")
        assert b.store.get(None, job.id) == b.store.get("ada", job.id)

    def test_what_is_no_longer_kept_has_expired_for_a_while(self, by_hand, redis):
        b = by_hand(result_ttl=1000, expired_ttl=2000)
        job = b.send_one("ada")
        b.compute()
        pass_time(redis, 1500)
        with pytest.raises(JobExpired):
            b.store.get("ada", job.id)
        with pytest.raises(JobNotFound):
            b.store.get("bob", job.id)
        pass_time(redis, 2000)
        with pytest.raises(JobNotFound):
            b.store.get("ada", job.id)


class TestList:
    def test_an_owner_s_own_come_page_by_page_the_newest_first(self, b):
        sent = [b.send_one("ada").id for _ in range(5)]
        b.send_one("bob")
        seen, cursor = [], None
        while not seen or cursor is not None:
            page = b.store.list("ada", limit=2, cursor=cursor)
            assert len(page.jobs) <= 2
            seen, cursor = seen + [job.id for job in page.jobs], page.next_cursor
        assert seen == sent[::-1]

    def test_a_group_and_a_status_narrow_it(self, b):
        accepted = b.send("ada", asked(), asked(), group=True)
        alone = b.send_one("ada")
        b.store.cancel("ada", accepted.jobs[0].id)
        ids = [job.id for job in accepted.jobs]
        assert jobs_of(b, group=accepted.group) in (ids, ids[::-1])
        assert jobs_of(b, status=JobStatus.CANCELLED) == ids[:1]
        assert jobs_of(b, group=accepted.group, status=JobStatus.QUEUED) == ids[1:]
        assert set(jobs_of(b)) == {*ids, alone.id}
        assert jobs_of(b, "bob", group=accepted.group) == []

    @pytest.mark.parametrize("cursor", ["", "nonsense", "1"])
    def test_a_cursor_that_was_not_given_out_is_refused(self, b, cursor):
        b.send_one("ada")
        with pytest.raises(InvalidRequest):
            b.store.list("ada", limit=1, cursor=cursor)


class TestCancel:
    def test_a_waiting_job_is_cancelled_at_once_and_never_run(self, b):
        job = b.send_one("ada")
        cancelled = b.store.cancel("ada", job.id)
        assert (cancelled.status, cancelled.cancel_requested) == (JobStatus.CANCELLED, True)
        assert b.store.cancel("ada", job.id) == b.store.get("ada", job.id) == cancelled
        assert b.take() is None

    def test_the_computation_stops_when_no_other_job_needs_it(self, b, redis):
        one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
        run = b.start()

        def asked_to_stop():
            return redis.hexists(names.key("computation", b.queue, run.computation), Field.CANCEL_REQUESTED)

        b.store.cancel("ada", one.id)
        assert (asked_to_stop(), b.store.get("bob", two.id).status) == (False, JobStatus.RUNNING)
        b.store.cancel("bob", two.id)
        assert asked_to_stop()

    @pytest.mark.parametrize("end", [fail, lambda b, job: b.compute()])
    def test_what_ended_is_too_late_to_cancel(self, b, end):
        job = b.send_one("ada")
        end(b, job)
        before = b.store.get("ada", job.id)
        with pytest.raises(JobEnded):
            b.store.cancel("ada", job.id)
        assert b.store.get("ada", job.id) == before

    def test_no_other_owner_cancels_it_and_the_operator_does(self, b):
        job = b.send_one("ada")
        with pytest.raises(JobNotFound):
            b.store.cancel("bob", job.id)
        assert b.store.get("ada", job.id).status is JobStatus.QUEUED
        assert b.store.cancel(None, job.id).status is JobStatus.CANCELLED


class TestDelete:
    def test_a_waiting_job_is_cancelled_and_forgotten(self, b):
        job = b.send_one("ada")
        b.store.delete("ada", job.id)
        with pytest.raises(JobNotFound):
            b.store.get(None, job.id)
        assert (jobs_of(b), b.take()) == ([], None)
        with pytest.raises(JobNotFound):
            b.store.delete("ada", job.id)

    def test_its_result_is_kept_for_as_long_as_another_job_needs_it(self, b):
        one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
        b.compute()
        shown = b.store.get("bob", two.id)
        b.store.delete("ada", one.id)
        assert b.store.read_head(shown) == {"text": "x"}
        b.store.delete("bob", two.id)
        with pytest.raises(ResultExpired):
            b.store.read_head(shown)

    def test_no_other_owner_deletes_it_and_the_operator_does(self, b):
        job = b.send_one("ada")
        with pytest.raises(JobNotFound):
            b.store.delete("bob", job.id)
        assert jobs_of(b) == [job.id]
        b.store.delete(None, job.id)
        assert jobs_of(b) == []

    def test_a_job_that_expired_is_forgotten_all_the_same(self, by_hand, redis):
        b = by_hand(result_ttl=1000, expired_ttl=2000)
        job = b.send_one("ada")
        b.compute()
        pass_time(redis, 1500)
        b.store.delete("ada", job.id)
        with pytest.raises(JobNotFound):
            b.store.get("ada", job.id)


class TestRetry:
    @pytest.mark.parametrize("end", [fail, lambda b, job: b.store.cancel("ada", job.id)])
    def test_what_failed_or_was_cancelled_is_queued_again(self, b, end):
        job = b.send_one("ada")
        end(b, job)
        assert b.store.retry(job.id).status is JobStatus.QUEUED
        b.compute()
        again = b.store.get("ada", job.id)
        assert (again.status, again.error, again.cancel_requested) == (JobStatus.SUCCEEDED, None, False)

    def test_its_retries_are_new(self, by_hand):
        b = by_hand(crash_retries=1)
        job = b.send_one("ada")

        def crash():
            run = b.start()
            assert b.moves.crashed(run.place, run.computation)
            return b.store.get("ada", job.id).status

        assert [crash(), crash()] == [JobStatus.QUEUED, JobStatus.FAILED]
        b.store.retry(job.id)
        assert [crash(), crash()] == [JobStatus.QUEUED, JobStatus.FAILED]

    @pytest.mark.parametrize("until", ["queued", "running", "succeeded", "being stopped"])
    def test_nothing_else_is_sent_again(self, b, until):
        job = b.send_one("ada")
        if until == "succeeded":
            b.compute()
        elif until != "queued":
            b.start()
        if until == "being stopped":
            b.store.cancel("ada", job.id)
        with pytest.raises(JobEnded):
            b.store.retry(job.id)

    def test_an_unknown_job_is_not_found(self, b):
        with pytest.raises(JobNotFound):
            b.store.retry("never")


class TestReadHead:
    def test_it_is_what_the_worker_stored(self, b):
        job = b.send_one("ada")
        b.compute()
        assert b.store.read_head(b.store.get("ada", job.id)) == {"text": "x"}

    def test_it_is_there_before_the_layers_are(self, b):
        job = b.send_one("ada")
        b.add_part(b.start(), "head", b'{"text": "early"}')
        assert b.store.read_head(b.store.get("ada", job.id)) == {"text": "early"}

    def test_what_is_not_there_has_expired(self, b):
        with pytest.raises(ResultExpired):
            b.store.read_head(b.send_one("ada"))


class TestReadLayer:
    def test_it_is_what_the_worker_stored_to_the_byte(self, b):
        job = b.send_one("ada")
        b.compute()
        shown = b.store.get("ada", job.id)
        assert [b.store.read_layer(shown, layer.index) for layer in shown.layers] == [b"layer 0", b"layer 1"]

    def test_what_is_not_there_has_expired(self, b, redis):
        job = b.send_one("ada")
        b.compute()
        shown = b.store.get("ada", job.id)
        with pytest.raises(ResultExpired):
            b.store.read_layer(shown, 7)
        b.store.delete("ada", job.id)
        with pytest.raises(ResultExpired):
            b.store.read_layer(shown, 0)


class TestReadWhole:
    def test_it_is_the_head_and_every_layer_in_order(self, b):
        job = b.send_one("ada")
        b.compute()
        assert b.store.read_whole(b.store.get("ada", job.id)) == ({"text": "x"}, [b"layer 0", b"layer 1"])

    def test_a_part_that_is_gone_is_no_result(self, b, redis):
        job = b.send_one("ada")
        b.compute()
        shown = b.store.get("ada", job.id)
        redis.delete(shown.layers[1].ref)
        with pytest.raises(ResultExpired):
            b.store.read_whole(shown)


class TestReadEvents:
    def test_they_come_in_order_from_any_place_so_many_at_a_time(self, b):
        job = b.send_one("ada")
        b.compute()
        events = b.store.read_events(job.computation, None, 99).events
        kinds = ["queued", "started", "head", "layer", "layer", "succeeded"]
        assert [event.kind for event in events] == kinds
        assert [event.final for event in events] == [False] * 5 + [True]
        assert events[1].data == {"attempt": 1}
        for place, event in enumerate(events):
            assert b.store.read_events(job.computation, event.id, 99).events == events[place + 1 :]
        assert b.store.read_events(job.computation, events[0].id, 2).events == events[1:3]

    def test_a_failure_comes_with_its_error(self, b):
        job = b.send_one("ada")
        fail(b, job)
        last = b.store.read_events(job.computation, None, 99).events[-1]
        assert (last.kind, last.data["code"]) == ("failed", Crashed.code)

    def test_of_its_jobs_it_tells_whose_end_was_their_own_and_who_is_gone(self, b):
        one, two, three = (b.send_one(owner, asked("same")) for owner in ("ada", "bob", "eve"))
        run = b.start()
        b.store.cancel("ada", one.id)
        b.store.delete("bob", two.id)
        b.finish(run)
        page = b.store.read_events(run.computation, None, 99, [one.id, two.id, three.id])
        assert (page.ends, page.gone) == ({one.id: page.events[1].id}, {two.id})
        assert page.ends[one.id] == b.store.get("ada", one.id).cancelled_after

    def test_of_what_is_forgotten_the_last_is_told(self, by_hand):
        b = by_hand(max_events=4)
        job = b.send_one("ada")
        run = b.start()
        assert b.store.read_events(job.computation, None, 99).forgotten is None
        for number in range(20):
            b.moves.report(run, f'{{"phase": "computing", "done": {number}, "total": 20}}')
        page = b.store.read_events(job.computation, None, 99)
        assert [event.kind for event in page.events][:2] == ["queued", "started"]
        assert page.forgotten not in (None, page.events[-1].id)


def watching(b, job, change):
    """Whether a watch on a job, which saw all there was, notices what `change` does."""

    async def scenario():
        async with b.store.running():
            with b.store.watch(job) as watch:
                await watch.changed(PATIENCE)  # it has begun to listen
                noticed = asyncio.create_task(watch.changed(PATIENCE))
                await asyncio.to_thread(change, watch)
                await asyncio.wait_for(noticed, PATIENCE)

    asyncio.run(scenario())


@pytest.fixture
def never_by_itself(monkeypatch):
    monkeypatch.setattr("service.jobs.redis.LOOK_ANYWAY_SECONDS", 2 * PATIENCE)


@pytest.mark.usefixtures("never_by_itself")
class TestWatch:
    @pytest.mark.parametrize(
        "change",
        [
            lambda b, job: b.start(),
            lambda b, job: b.compute(),
            lambda b, job: b.store.cancel("ada", job.id),
            lambda b, job: b.store.delete("ada", job.id),
        ],
        ids=["it starts", "it ends", "it is cancelled", "it is forgotten"],
    )
    def test_every_change_is_noticed(self, b, change):
        job = b.send_one("ada")
        watching(b, job, lambda watch: change(b, job))


@pytest.mark.usefixtures("never_by_itself")
class TestRunning:
    def test_while_it_runs_changes_are_heard_of_and_then_it_ends(self, b):
        job = b.send_one("ada")
        watching(b, job, lambda watch: b.compute())


@pytest.mark.usefixtures("never_by_itself")
class TestNotify:
    def test_who_waits_looks_again_and_so_does_the_next_to_wait(self, b):
        async def scenario():
            with b.store.watch(b.send_one("ada")) as watch:
                watch.notify()
                await asyncio.wait_for(watch.changed(PATIENCE), PATIENCE)
                waits = asyncio.create_task(watch.changed(PATIENCE))
                await asyncio.sleep(0)
                watch.notify()
                await asyncio.wait_for(waits, PATIENCE)

        asyncio.run(scenario())


@pytest.mark.usefixtures("never_by_itself")
class TestChanged:
    def test_without_a_change_it_returns_after_its_time(self, b):
        async def scenario():
            with b.store.watch(b.send_one("ada")) as watch:
                await asyncio.wait_for(watch.changed(0.01), PATIENCE)

        asyncio.run(scenario())


@pytest.fixture
def due(b):
    """Jobs whose webhooks are due."""
    jobs = [b.send_one("ada", asked(webhook=HOOK)) for _ in range(3)]
    for job in jobs:
        b.store.cancel("ada", job.id)
    return {job.id for job in jobs}


class TestClaimWebhooks:
    def test_a_job_with_a_webhook_is_due_once_it_ended(self, b):
        ended, cancelled, _ = (b.send_one("ada", asked(webhook=hook)) for hook in (HOOK, HOOK, None))
        assert b.store.claim_webhooks(9, 60) == []
        b.compute()
        b.store.cancel("ada", cancelled.id)
        assert {claim.job for claim in b.store.claim_webhooks(9, 60)} == {ended.id, cancelled.id}

    def test_so_many_as_asked_for_and_each_by_one_alone(self, b, due):
        first, rest = b.store.claim_webhooks(2, 60), b.store.claim_webhooks(9, 60)
        assert (len(first), {claim.job for claim in first + rest}) == (2, due)
        assert {claim.attempt for claim in first + rest} == {1}
        assert b.store.claim_webhooks(9, 60) == []

    def test_what_is_not_settled_within_the_lease_is_due_again(self, b, due):
        b.store.claim_webhooks(9, -1)
        assert {(claim.job, claim.attempt) for claim in b.store.claim_webhooks(9, 60)} == {(job, 2) for job in due}


class TestSettleWebhook:
    def test_done_is_done(self, b, due):
        for claim in b.store.claim_webhooks(9, -1):
            assert b.store.settle_webhook(claim, "delivered")
        assert b.store.claim_webhooks(9, 60) == []

    def test_again_is_due_in_so_many_seconds(self, b, due):
        one, two, _ = b.store.claim_webhooks(9, 600)
        assert b.store.settle_webhook(one, "retried", again=-1)
        assert b.store.settle_webhook(two, "retried", again=600)
        assert [(claim.job, claim.attempt) for claim in b.store.claim_webhooks(9, 60)] == [(one.job, 2)]

    def test_a_claim_that_was_lost_settles_nothing(self, b, due):
        lost, held = b.store.claim_webhooks(1, -1)[0], b.store.claim_webhooks(9, 60)
        assert not b.store.settle_webhook(lost, "delivered")
        assert b.store.settle_webhook(next(claim for claim in held if claim.job == lost.job), "delivered")


class TestLoad:
    def test_it_is_what_waits_and_who_works(self, by_hand):
        b = by_hand(max_backlog=100)
        empty = b.store.load()
        assert (empty.waiting, empty.backlog, empty.workers) == (0, 0.0, 0)
        for name in ("w1", "w2"):
            b.worker_alive(name)
        for _ in range(3):
            b.send_one("ada", asked(cost=4))
        b.start()
        load = b.store.load()
        assert (load.waiting, load.backlog, load.workers) == (2, 12.0, 2)
        assert (load.limit, load.wait) == (200.0, 6.0)

    def test_what_ended_is_no_load(self, b):
        job = b.send_one("ada")
        b.compute()
        b.store.cancel("ada", b.send_one("ada").id)
        assert (b.store.load().waiting, b.store.load().backlog) == (0, 0.0)
        assert b.store.get("ada", job.id).status is JobStatus.SUCCEEDED

    def test_its_rate_is_seconds_per_unit_of_work_and_none_before_the_first(self, b):
        assert b.store.load().rate is None
        b.send_one("ada", asked(work=10.0))
        assert b.store.load().rate is None
        b.finish(b.start(), compute=4.0)
        assert_close(b.store.load().rate, 0.4, 1e-6)


class TestModels:
    def test_they_are_those_that_workers_say_they_have(self, b, redis):
        assert b.store.models() == {}
        redis.hset(names.key("models", b.queue), mapping={"tiny": "1" * 64, "new": ""})
        assert b.store.models() == {"tiny": "1" * 64, "new": ""}


class TestDurability:
    def test_it_says_what_is_promised(self, b):
        durability = b.store.durability()
        assert (durability.promise, durability.eviction) == ("last_second", "noeviction")
        assert durability.meaning

    def test_a_store_that_may_drop_jobs_is_unfit_unless_that_is_allowed(self, by_hand, redis):
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(UnfitRedis):
                by_hand().store.durability()
            with pytest.raises(UnfitRedis):
                by_hand().send_one("ada")
            assert by_hand(allow_eviction=True).store.durability().eviction == "allkeys-lru"
        finally:
            redis.config_set("maxmemory-policy", "noeviction")


WITHOUT_THE_STORE = {"watch", "running"}
CALLS = {
    "submit": lambda store, job: store.submit("ada", [asked()], limits=Limits()),
    "get": lambda store, job: store.get("ada", job.id),
    "list": lambda store, job: store.list("ada", limit=1),
    "cancel": lambda store, job: store.cancel("ada", job.id),
    "delete": lambda store, job: store.delete("ada", job.id),
    "retry": lambda store, job: store.retry(job.id),
    "read_head": lambda store, job: store.read_head(job),
    "read_layer": lambda store, job: store.read_layer(job, 0),
    "read_whole": lambda store, job: store.read_whole(job),
    "read_events": lambda store, job: store.read_events(job.computation, None, 1),
    "load": lambda store, job: store.load(),
    "models": lambda store, job: store.models(),
    "durability": lambda store, job: store.durability(),
    "claim_webhooks": lambda store, job: store.claim_webhooks(1, 1),
    "settle_webhook": lambda store, job: store.settle_webhook(job, "delivered"),
}


@pytest.mark.parametrize("name", sorted(members(JobStore) - WITHOUT_THE_STORE))
def test_without_a_server_every_method_says_that_the_store_is_unavailable(b, due, name, tmp_path):
    b.send_one("ada")
    b.compute()
    job = b.store.list("ada", limit=1).jobs[0]
    (claim,) = b.store.claim_webhooks(1, 60)
    away = RqJobStore(f"unix://{tmp_path}/nobody.sock", Settings())
    with pytest.raises(StoreUnavailable):
        CALLS[name](away, claim if name == "settle_webhook" else job)
