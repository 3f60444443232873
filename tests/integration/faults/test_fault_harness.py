"""The fault harness: it sees what is planted, draws the same from the same seed, and a short run of it is clean."""

import json
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from redis import Redis, exceptions

from lig_core.result.arrays import Result
from lig_core.serving.queue import names
from lig_core.serving.queue.job_errors import Crashed
from tests.faults import campaign, report, soak, truth, verdicts
from tests.faults.faults import all_faults
from tests.faults.orders import FAILING_SHARE, FAILURES, LAYERS, Caller, Order, orders
from tests.faults.scripted_child import layer
from tests.faults.server import RedisServer
from tests.faults.stack import Stack
from tests.faults.truth import commands, publications
from tests.faults.verdicts import Verdict
from tests.support.places import ROOT

SEED = 10
CODE = min(FAILURES)


@pytest.mark.slow
def test_every_accepted_job_ends_once_with_its_own_answer_whatever_is_broken(tmp_path):
    told = {"seed": SEED, "jobs": 60, "minutes": 0.5, "lease": 2, "between": 0.2, "out": tmp_path}
    options = [part for name, value in told.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.faults.run", "campaign", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "faults.json").read_text())["campaign"]
    assert result["accepted"] == result["right"] >= 20
    assert not any(result[verdict] for verdict in verdicts.MEANING)
    assert (result["published_twice"], result["published_never"]) == (0, 0)
    assert result["singles"] and result["pairs"]
    assert f"seed {SEED}" in (tmp_path / "faults.md").read_text()


def answer(order, value=None):
    """The result of an order, with layers of another one's where so told."""
    head = {"text": order.text, "tokens": ["a"], "config": {"baseline_layer": "zero", "rtol": 1e-3}}
    return Result.of(head, [layer(index, (value or order).value(index)) for index in range(LAYERS)])


def gone(store, run, order):
    store.finish_with(run, answer(order))
    store.redis.delete(*store.redis.scan_iter(names.blob_key("lig", run.computation, run.execution, "*")))


def fails(error):
    return lambda store, run, order: store.moves.fail(run.place, run.computation, error(order))


OTHER = Order(99, 0.1)
OTHER_THAT_FAILS = Order(98, 0.1, CODE)
PLANTED = {
    "its own result": (None, Verdict.RIGHT, lambda store, run, order: store.finish_with(run, answer(order))),
    "its own failure": (CODE, Verdict.RIGHT, fails(lambda order: FAILURES[CODE](order.text))),
    "another's result": (None, Verdict.OF_ANOTHER, lambda store, run, order: store.finish_with(run, answer(OTHER))),
    "another's layers": (
        None, Verdict.OF_ANOTHER, lambda store, run, order: store.finish_with(run, answer(order, OTHER)),
    ),
    "another's failure": (CODE, Verdict.OF_ANOTHER, fails(lambda order: FAILURES[CODE](OTHER_THAT_FAILS.text))),
    "a failure where a result is due": (
        None, Verdict.OF_ANOTHER, fails(lambda order: FAILURES[CODE](OTHER_THAT_FAILS.text)),
    ),
    "a result where a failure is due": (
        CODE, Verdict.OF_ANOTHER, lambda store, run, order: store.finish_with(run, answer(order)),
    ),
    "crashed": (None, Verdict.WRONGLY_FAILED, fails(lambda order: Crashed("the process died"))),
    "crashed instead of its own failure": (CODE, Verdict.WRONGLY_FAILED, fails(lambda order: Crashed("it died"))),
    "its own words under another code": (CODE, Verdict.WRONGLY_FAILED, fails(lambda order: Crashed(order.text))),
    "no result": (None, Verdict.GONE, lambda store, run, order: store.end(run)),
    "a result that is not there any more": (None, Verdict.GONE, gone),
    "never ended": (None, Verdict.STUCK, lambda store, run, order: None),
    "forgotten": (None, Verdict.LOST, None),
}  # fmt: skip


def test_what_is_planted_is_counted(start_api, by_hand):
    store, url = by_hand(), start_api()
    with Caller([url], Random(1)) as caller:
        for number, (fail, _, _) in enumerate(PLANTED.values()):
            assert caller.send(Order(number, 0.1, fail))
    there = {
        store.redis.hget(names.key("job", "lig", job_id), "computation").decode(): job_id for job_id in caller.accepted
    }
    for _ in PLANTED:
        run = store.start()
        order = caller.accepted[there[run.computation]]
        plant = list(PLANTED.values())[order.number][2]
        if plant is None:
            store.redis.delete(names.key("job", "lig", there[run.computation]))
        else:
            plant(store, run, order)
    with verdicts.Reader([url]) as reader:
        found = {order.number: verdicts.judge(order, reader.look(job)) for job, order in caller.accepted.items()}
    assert {name: found[number] for number, name in enumerate(PLANTED)} == {
        name: verdict for name, (_, verdict, _) in PLANTED.items()
    }
    counted = verdicts.count([url], caller.accepted)
    assert {verdict: counted[verdict] for verdict in Verdict} == Counter(verdict for _, verdict, _ in PLANTED.values())
    assert len(counted["not_as_promised"]) == len(PLANTED) - counted["right"]
    assert len(verdicts.broken(counted)) == len(verdicts.MEANING)


def test_the_first_api_that_takes_a_job_gets_it_and_an_error_is_no_refusal(start_api, by_hand):
    by_hand()
    nobody, url = "http://127.0.0.1:9", start_api()
    with Caller([nobody, url], Random(1)) as caller:
        assert all(caller.send(order) for order, _ in zip(orders(Random(1)), range(8), strict=False))
        assert (len(caller.accepted), caller.refused, caller.errors) == (8, 0, [])
    with Caller([nobody], Random(1)) as caller:
        assert caller.send(OTHER) is None
        assert (caller.refused, caller.errors) == (1, [])
    with Caller([f"{url}/nowhere"], Random(1)) as caller:
        assert caller.send(OTHER) is None
        assert caller.errors[0].startswith("404")


def test_orders_are_some_that_fail_and_some_that_succeed_and_are_known_by_their_text():
    sent = [order for order, _ in zip(orders(Random(3)), range(300), strict=False)]
    assert all(Order.of(order.text) == order for order in sent)
    assert len({order.text for order in sent}) == len(sent)
    assert {order.fails for order in sent} == {None, *FAILURES}
    assert FAILING_SHARE / 2 < sum(order.fails is not None for order in sent) / len(sent) < FAILING_SHARE * 2


def test_the_same_seed_draws_the_same_pairs_of_all_kinds(tmp_path):
    faults = all_faults(Stack(tmp_path, workers=2, apis=2))
    told = {
        seed: [(what.name, getattr(what, "after", None)) for what, _ in
               zip(campaign.plan(faults, Random(seed)), range(400), strict=False)]
        for seed in (1, 2)
    }  # fmt: skip
    again = zip(campaign.plan(faults, Random(1)), range(400), strict=False)
    assert told[1] == [(what.name, getattr(what, "after", None)) for what, _ in again] != told[2]
    pairs = [campaign.draw_pair(faults, Random(number)) for number in range(2000)]
    kinds = {fault.name for fault in faults}
    assert {pair.first.name for pair in pairs} == {pair.second.name for pair in pairs} == kinds
    assert all(0 <= pair.after <= pair.first.seconds + campaign.JUST_AFTER for pair in pairs)
    by_themselves = Counter(name for name, after in told[1] if after is None)
    assert set(by_themselves) == kinds and max(by_themselves.values()) - min(by_themselves.values()) <= 1


def test_both_faults_of_a_pair_are_over_when_it_is(tmp_path):
    over = []
    slow, quick = (
        campaign.Fault(name, seconds, lambda dice, name=name: over.append((name, dice.random())))
        for name, seconds in (("slow", 0.2), ("quick", 0.0))
    )
    campaign.Pair(slow, quick, 0.05).hit(Random(1))
    campaign.Pair(quick, slow, 0.0).hit(Random(1))
    assert {name for name, _ in over[:2]} == {"slow", "quick"}
    assert {draw for _, draw in over[:2]} == {draw for _, draw in over[2:]}


def test_a_process_that_ended_by_itself_is_told_from_one_that_was_killed(tmp_path):
    stack = Stack(tmp_path, workers=2, worker=("-c", "raise SystemExit(3)"), apis=0)
    stack.keep_up()
    leaves, killed = stack.workers
    killed.kill()
    leaves.process.wait()
    stack.workers[1].command = stack.workers[0].command = ("-c", "import time; time.sleep(60)")
    stack.keep_up()
    for member in stack.workers:
        member.kill()
    stack.keep_up()
    for member in stack.workers:
        member.kill()
    assert [(ended.name, ended.code) for ended in stack.exits if ended.name == "worker 1"] == [("worker 1", 3)]


@pytest.fixture
def server(tmp_path):
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


REFUSALS = {
    "frozen": exceptions.TimeoutError,
    "full": exceptions.OutOfMemoryError,
    "read_only": exceptions.ReadOnlyError,
    "short_of_replicas": exceptions.ResponseError,
    "password_changed": exceptions.AuthenticationError,
    "forbidden": exceptions.NoPermissionError,
    "snapshot_failed": exceptions.ResponseError,
}


@pytest.mark.parametrize("state", REFUSALS)
def test_redis_is_in_a_state_and_out_of_it_again(server, state):
    with Redis.from_url(server.url, socket_timeout=1) as redis:
        redis.set("kept", 1)
        with getattr(server, state)(), pytest.raises(REFUSALS[state]):
            redis.set("kept", 2)
        assert redis.incr("kept") in (2, 3)  # frozen, it may have heard the command


def test_a_full_disk_is_refused_or_ends_redis_and_costs_nothing(server, tmp_path):
    relaxed = RedisServer(tmp_path / "relaxed", "everysec")
    relaxed.start()
    try:
        for each in (server, relaxed):
            with Redis.from_url(each.url, socket_timeout=1) as redis:
                redis.set("kept", 1)
                with each.disk_full(), pytest.raises((exceptions.ResponseError, exceptions.ConnectionError)):
                    while True:
                        redis.set("other", 1)
                each.insist("SET", "other", 2)
                assert each.insist("GET", "kept") == b"1"
    finally:
        relaxed.kill()


def line(*parts):
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def test_a_second_publication_would_be_seen(tmp_path):
    key = truth.COMPUTATION.encode() + b"a"
    publish = line(b"HSET", key, b"layer:0", b"{}")
    ended = line(b"HSET", key, b"status", b"finished", b"ended", b"1")
    other = line(b"HSET", key, b"status", b"layer:0")
    assert publications(line(b"SELECT", b"0") + publish + ended + other) == {("a", "layer:0"): 1, ("a", "finished"): 1}
    assert publications(publish + publish + publish[:-5])["a", "layer:0"] == 2
    assert list(commands(publish[:-3])) == []
    files = [tmp_path / name for name in ("1.aof", "2.aof", "3.aof")]
    for file, content in zip(files, (b"", publish, publish + ended), strict=True):
        file.write_bytes(content)
    # The head and the second layer are there neither once nor twice.
    assert truth.doubled(files, ["a"]) == {"published_twice": 1, "published_never": 2}


def test_a_section_of_the_report_takes_its_place_and_leaves_the_others(tmp_path):
    report.write(tmp_path, "states", [1], "the first states")
    report.write(tmp_path, "campaign", {"seed": 1}, "a campaign")
    report.write(tmp_path, "states", [2], report.rows(["a", "b"], [[1, 2]]))
    assert json.loads((tmp_path / "faults.json").read_text()) == {"campaign": {"seed": 1}, "states": [2]}
    page = (tmp_path / "faults.md").read_text()
    assert page.index("a campaign") < page.index("| a | b |\n| --- | --- |\n| 1 | 2 |")
    assert "the first states" not in page


def test_the_soak_sees_growth_and_another_text_s_result():
    flat, grown = [100.0] * 20, [100.0 + number for number in range(20)]
    for swings in (False, True):
        assert soak.figure("rss", flat, swings=swings)["flat"] and not soak.figure("rss", grown, swings=swings)["flat"]
    result = {"tokens": ["[CLS]", "word", "word", "35", "##7", "[SEP]"]}
    assert soak.is_of(result, "word word 357") and not soak.is_of(result, "word word 358")
