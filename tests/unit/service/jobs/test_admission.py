"""What is accepted, what joins work that is there, and when those who are refused may come back."""

import threading

import numpy as np
import pytest

from lig_core.errors import InvalidRequest
from lig_core.serving.queue import names
from lig_core.serving.queue.job_errors import IdempotencyMismatch, QueueFull, QuotaExceeded
from lig_core.serving.queue.scripts import Scripts
from service.jobs.job import JobStatus, Limits
from tests.running.by_hand import QUEUE, asked
from tests.support.closeness import assert_close


def waiting(redis):
    return redis.zcard(names.key("waiting", QUEUE))


def test_equal_requests_share_one_computation_and_all_succeed_with_it(by_hand, redis):
    b = by_hand()
    first, second = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
    assert (first.coalesced, second.coalesced) == (False, True)
    assert first.computation == second.computation and first.id != second.id
    b.compute()
    for owner, job in (("ada", first), ("bob", second)):
        shown = b.store.get(owner, job.id)
        assert shown.status is JobStatus.SUCCEEDED
        assert b.store.read_head(shown) == {"text": "x"}
    assert waiting(redis) == 0


def test_a_hundred_equal_requests_at_once_are_one_computation(by_hand, redis):
    b = by_hand()
    threads = [threading.Thread(target=b.send_one, args=("ada", asked("same"))) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waiting(redis) == 1
    assert len(b.store.list("ada", limit=200).jobs) == 100
    assert b.store.load().backlog == 1.0


def test_what_was_computed_before_is_there_at_once(by_hand):
    b = by_hand()
    b.send_one("ada", asked("same"))
    b.compute()
    again = b.send_one("bob", asked("same"))
    assert (again.status, again.coalesced, len(again.layers)) == (JobStatus.SUCCEEDED, True, 2)
    assert b.store.load().backlog == 0


def test_a_fresh_run_can_be_asked_for_and_is_what_others_join_then(by_hand):
    b = by_hand()
    old = b.send_one("ada", asked("same"))
    b.compute()
    new = b.send_one("ada", asked("same", fresh=True))
    assert new.status is JobStatus.QUEUED and new.computation != old.computation
    assert b.send_one("bob", asked("same")).computation == new.computation


@pytest.mark.parametrize("end", ["failed", "cancelled", "stopping"])
def test_nobody_joins_what_failed_or_was_cancelled(by_hand, end):
    b = by_hand()
    job = b.send_one("ada", asked("same"))
    if end == "failed":
        run = b.start()
        b.moves.fail(run.place, run.computation, {"code": "x"})
    if end == "stopping":
        b.start()
    if end != "failed":
        b.store.cancel("ada", job.id)
    assert b.send_one("bob", asked("same")).computation != job.computation


def test_an_interactive_request_brings_a_bulk_one_forward(by_hand):
    b = by_hand()
    bulk = b.send_one("ada", asked("same", priority="bulk"))
    others = [b.send_one("ada") for _ in range(3)]
    assert b.store.get("ada", bulk.id).queue_position == 3
    b.send_one("bob", asked("same"))
    assert b.store.get("ada", bulk.id).queue_position == 0
    assert b.store.get("ada", others[0].id).queue_position == 1


def test_an_idempotency_key_gives_the_first_jobs_again(by_hand, redis):
    b = by_hand()
    first = b.send("ada", asked("one"), asked("two"), idempotency=("key", "body"), group=True)
    again = b.send("ada", asked("one"), asked("two"), idempotency=("key", "body"), group=True)
    assert (first.replayed, again.replayed) == (False, True)
    assert [job.id for job in first.jobs] == [job.id for job in again.jobs]
    assert first.group == again.group == first.jobs[0].group
    assert waiting(redis) == 2
    with pytest.raises(IdempotencyMismatch):
        b.send("ada", asked("other"), idempotency=("key", "another body"))
    # Another owner's keys are its own.
    assert not b.send("bob", asked("other"), idempotency=("key", "another body")).replayed


def test_the_same_idempotency_key_at_once_is_accepted_once(by_hand, redis):
    b, replayed = by_hand(), []

    def send():
        replayed.append(b.send("ada", asked(fresh=True), idempotency=("key", "body")).replayed)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replayed.count(False) == 1
    assert waiting(redis) == 1


def test_a_batch_is_accepted_whole_or_not_at_all(by_hand, redis):
    b = by_hand()
    limits = Limits(concurrency=3)
    b.send("ada", asked(), asked(), limits=limits)
    with pytest.raises(QuotaExceeded) as caught:
        b.send("ada", asked(), asked(), limits=limits)
    assert caught.value.retry_after > 0
    assert waiting(redis) == len(b.store.list("ada", limit=9).jobs) == 2
    b.send("ada", asked(), limits=limits)


def test_a_batch_that_no_wait_would_make_room_for_is_not_told_to_wait(by_hand):
    b = by_hand()
    with pytest.raises(InvalidRequest, match="send fewer") as caught:
        b.send("bob", *(asked() for _ in range(4)), limits=Limits(concurrency=3))
    assert (caught.value.retryable, caught.value.retry_after) == (False, None)


def test_a_job_that_ends_makes_room_for_another_of_its_owner(by_hand):
    b, limits = by_hand(), Limits(concurrency=1)
    b.send_one("ada", limits=limits)
    with pytest.raises(QuotaExceeded):
        b.send_one("ada", limits=limits)
    b.send_one("bob", limits=limits)
    b.compute()
    b.send_one("ada", limits=limits)


def test_joining_costs_nothing(by_hand):
    b, limits = by_hand(), Limits(concurrency=1, rate=0.001, burst=0.1)
    b.send_one("ada", asked("same"), limits=limits)
    with pytest.raises(QuotaExceeded):
        b.send_one("ada", limits=limits)
    assert b.send_one("ada", asked("same"), limits=limits).coalesced
    b.compute()
    assert b.send_one("ada", asked("same"), limits=limits).coalesced


def test_a_rate_is_kept_in_estimated_seconds_of_work(by_hand):
    b, limits = by_hand(), Limits(rate=0.02, burst=500.0)
    for _ in range(3):  # 12 s of work where 10 may be asked for at once: the last is let in whole
        b.send_one("ada", asked(cost=4.0), limits=limits)
    with pytest.raises(QuotaExceeded, match="rate") as caught:
        b.send_one("ada", asked(cost=4.0), limits=limits)
    assert 50 < caught.value.retry_after <= 101  # 2 s of work too much, less what has passed meanwhile
    b.send_one("bob", asked(cost=4.0), limits=limits)


def test_a_full_queue_says_when_there_will_be_room(by_hand):
    b = by_hand(max_backlog=100)
    b.worker_alive("w1")
    b.worker_alive("w2")
    for _ in range(4):
        b.send_one("ada", asked(cost=50))
    with pytest.raises(QueueFull) as caught:
        b.send_one("ada", asked(cost=20))
    assert_close(caught.value.retry_after, 10, 0.01)  # two workers, 20 s too much
    assert caught.value.retryable


def test_one_job_larger_than_the_queue_is_accepted_while_nothing_else_waits(by_hand):
    b = by_hand(max_backlog=10)
    b.send_one("ada", asked(cost=1000))
    with pytest.raises(QueueFull):
        b.send_one("ada", asked(cost=1))


def test_refused_callers_come_back_one_after_another_and_each_gets_in_at_its_time(by_hand, redis):
    b = by_hand(max_backlog=60)
    b.worker_alive()
    for _ in range(60):
        b.send_one("first")
    for number in range(300):
        with pytest.raises(QueueFull) as caught:
            b.send_one(f"client{number}", asked(f"late {number}"))
    promises = names.key("promises", QUEUE)
    told = dict(redis.zrange(promises, 0, -1, withscores=True))
    gaps = np.diff(list(told.values()))
    assert len(gaps) == 299
    assert min(gaps) > 0.9  # at the rate at which one worker makes room
    assert max(gaps) < 1.1
    assert caught.value.retry_after <= sum(gaps) + 1.1
    # Who asks again before its time is told the same.
    with pytest.raises(QueueFull):
        b.send_one("client7", asked("late 7"))
    assert dict(redis.zrange(promises, 0, -1, withscores=True)) == told

    # A second passes, the worker has done one job: who was promised gets in, a newcomer does not.
    def pass_second():
        b.compute()
        for member, at in redis.zscan_iter(promises):
            redis.zadd(promises, {member: at - 1})
        clock = names.key("queue_limits", QUEUE)
        redis.hset(clock, "promised|queue", float(redis.hget(clock, "promised|queue")) - 1)

    for number in range(20):
        pass_second()
        with pytest.raises(QueueFull):
            b.send_one("newcomer", asked(f"new {number}"))
        b.send_one(f"client{number}", asked(f"late {number}"))


def test_promises_that_nobody_keeps_do_not_leave_the_workers_idle(by_hand):
    b = by_hand(max_backlog=10)
    for _ in range(10):
        b.send_one("first")
    for number in range(50):
        with pytest.raises(QueueFull):
            b.send_one(f"gone{number}")
    for _ in range(6):
        b.compute()
    b.send_one("newcomer")


def test_the_backlog_heals(by_hand, redis):
    b = by_hand()
    for _ in range(3):
        b.send_one(submission=asked(cost=2))
    b.start()
    redis.set(names.key("backlog", QUEUE), 1e6)
    Scripts(redis, QUEUE).call("upkeep/heal", every=60)
    assert b.store.load().backlog == 6
