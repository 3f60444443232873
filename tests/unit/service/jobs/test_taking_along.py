"""Who goes into one sequence: the next in line that ask alike, past none that was sent alone."""

import pytest

from lig_core.contract import MOST_PACKED
from lig_core.serving.queue import names
from lig_core.serving.queue.moves import MOST_TOGETHER, PASSES
from tests.running.by_hand import asked


def sharing(shares="a", **more):
    return asked(**{"shares": shares, "tokens": 10, "priority": "bulk", **more})


def sent(b, owner, *submissions):
    """Their computations."""
    return [job.computation for job in b.send(owner, *submissions).jobs]


def taken_together(b):
    """The next computation, started, and those that go along."""
    first = b.take()
    b.start(first)
    return [first, *b.moves.take_along(first)]


def test_the_next_that_ask_alike_go_along_in_their_order_up_to_a_number(by_hand):
    b = by_hand()
    computations = sent(b, "ada", *(sharing() for _ in range(2 * MOST_TOGETHER + 1)))
    assert taken_together(b) == computations[:MOST_TOGETHER]
    assert taken_together(b) == computations[MOST_TOGETHER : 2 * MOST_TOGETHER]
    assert taken_together(b) == computations[-1:]
    assert b.take() is None


def test_those_taken_along_wait_no_more_and_can_be_started_or_given_back(by_hand):
    b = by_hand()
    first, second, third = sent(b, "ada", sharing(), sharing(), sharing(shares="b"))
    assert taken_together(b) == [first, second]
    assert b.store.list("ada", limit=3).jobs[0].queue_position == 0
    assert b.redis.zrange(names.key("popped", b.queue), 0, -1) == [second.encode()]
    assert b.redis.zrange(names.key("line", b.queue, "bulk"), 0, -1) == [third.encode()]
    assert b.redis.hget(names.key("counters", b.queue), "attempts_together") == b"2"
    b.start(second)
    assert b.redis.zcard(names.key("leases", b.queue)) == 2


def test_nobody_who_was_sent_alone_is_passed_by(by_hand):
    b = by_hand()
    first, second, third = sent(b, "ada", *(sharing(priority="interactive") for _ in range(3)))
    (alone,) = sent(b, "bob", asked())
    assert taken_together(b) == [first]
    assert taken_together(b) == [alone]
    assert taken_together(b) == [second, third]


def test_others_that_may_share_are_passed_by_and_come_next(by_hand):
    b = by_hand()
    ada, bob = [], []
    for _ in range(3):
        ada += sent(b, "ada", sharing())
        bob += sent(b, "bob", sharing(shares="b"))
    assert [taken_together(b), taken_together(b)] == [ada, bob]


def test_the_first_in_line_is_passed_by_a_bounded_number_of_jobs_and_one_pack(by_hand):
    b = by_hand()
    (first,) = sent(b, "ada", sharing(model="a", shares="a", priority="interactive"))
    sent(b, "ada", *(sharing(model="b", shares="b", cost=0.1, priority="interactive") for _ in range(40)))
    before = 0
    while (taken := b.take(("b", "float32"))) != first:
        b.start(taken)
        before += 1 + len(b.moves.take_along(taken))
    assert PASSES <= before < PASSES + MOST_TOGETHER


def test_owners_are_served_alike_though_each_goes_in_packs(by_hand):
    b = by_hand()
    for owner, number in (("ada", 60), ("bob", 30)):
        sent(b, owner, *(sharing(shares=owner) for _ in range(number)))
    flows = {computation: owner for owner in ("ada", "bob") for computation in computations_of(b, owner)}
    served = {"ada": 0, "bob": 0}
    while served["bob"] < 30:
        for computation in taken_together(b):
            served[flows[computation]] += 1
        assert abs(served["ada"] - served["bob"]) <= MOST_TOGETHER


def computations_of(b, owner):
    return [job.computation for job in b.store.list(owner, limit=100).jobs]


def test_a_sequence_has_a_bounded_number_of_tokens(by_hand):
    b = by_hand()
    half = MOST_PACKED // 2
    computations = sent(b, "ada", *(sharing(tokens=tokens) for tokens in (half, half - 1, 2, 1)))
    assert taken_together(b) == computations[:2]
    assert taken_together(b) == computations[2:]


@pytest.mark.parametrize("field", [{"attempts": 1}, {"retries_left": 0}])
def test_who_ran_before_and_whose_end_a_crash_would_be_runs_alone(by_hand, field):
    b = by_hand()
    computations = sent(b, "ada", *(sharing() for _ in range(3)))
    b.redis.hset(names.key("computation", b.queue, computations[1]), mapping=field)
    assert taken_together(b) == computations[:1]


def test_workers_share_what_waits(by_hand):
    b = by_hand()
    for worker in ("one", "two"):
        b.worker_alive(worker)
    computations = sent(b, "ada", *(sharing() for _ in range(6)))
    assert taken_together(b) == computations[:3]
    assert taken_together(b) == computations[3:5]


def test_what_is_no_job_is_not_taken_along(by_hand):
    b = by_hand()
    first, second = sent(b, "ada", sharing(), sharing())
    waiting = names.key("waiting", b.queue)
    b.redis.zadd(waiting, {"alien": b.redis.zscore(waiting, second) - 0.1})
    b.redis.set(names.key("computation", b.queue, "alien"), "no hash")
    assert b.take() == first
    b.start(first)
    assert b.moves.take_along(first) == []
    assert b.redis.zscore(waiting, second) is not None
