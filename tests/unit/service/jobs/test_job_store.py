"""Jobs of several owners over shared computations: who sees what, what is listed, told, kept and forgotten."""

import time

import pytest

from lig_core.errors import InvalidRequest
from lig_core.serving.queue import counters, names
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.upkeep import server_time, take_over, tidy
from service.events.ids import later
from service.http.errors import JobEnded, JobExpired, JobNotFound, ResultExpired
from service.jobs import redis_store
from service.jobs.job import JobStatus
from tests.running.by_hand import QUEUE, asked
from tests.running.waiting import pass_time
from tests.support.closeness import assert_close


@pytest.mark.parametrize("act", ["get", "cancel", "delete"])
def test_another_owner_s_job_is_not_there(by_hand, act):
    b = by_hand()
    job = b.send_one("ada")
    with pytest.raises(JobNotFound):
        getattr(b.store, act)("bob", job.id)
    assert b.store.get("ada", job.id).status is JobStatus.QUEUED
    assert b.store.get(None, job.id).owner == "ada"
    assert b.store.list("bob", limit=9).jobs == ()


def test_jobs_are_listed_page_by_page_the_newest_first(by_hand):
    b = by_hand()
    sent = [job.id for job in b.send("ada", *(asked() for _ in range(7))).jobs]
    b.send_one("bob")
    seen, cursor = [], None
    while True:
        page = b.store.list("ada", limit=3, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.jobs) == 3
    assert seen == sent[::-1]
    with pytest.raises(InvalidRequest, match="cursor"):
        b.store.list("ada", limit=3, cursor="nonsense")


def test_a_page_goes_on_where_the_last_one_ended_whatever_came_or_went(by_hand):
    b = by_hand()
    sent = [b.send_one("ada").id for _ in range(6)]
    page = b.store.list("ada", limit=2)
    b.store.delete("ada", sent[4])  # the one the page ended with
    b.store.delete("ada", sent[3])
    b.send_one("ada")
    rest = b.store.list("ada", limit=9, cursor=page.next_cursor)
    assert [job.id for job in rest.jobs] == [sent[2], sent[1], sent[0]]


def test_jobs_of_one_status_are_listed_page_by_page(by_hand):
    b = by_hand()
    sent = [job.id for job in b.send("ada", *(asked() for _ in range(6))).jobs]
    b.send_one("bob")
    for job_id in sent[1:5]:
        b.store.cancel("ada", job_id)
    first = b.store.list("ada", limit=3, status=JobStatus.CANCELLED)
    assert [job.id for job in first.jobs] == [sent[4], sent[3], sent[2]]
    rest = b.store.list("ada", limit=3, status=JobStatus.CANCELLED, cursor=first.next_cursor)
    assert ([job.id for job in rest.jobs], rest.next_cursor) == ([sent[1]], None)
    assert [job.id for job in b.store.list("ada", limit=9, status=JobStatus.QUEUED).jobs] == [sent[5], sent[0]]
    assert b.store.list("ada", limit=9, status=JobStatus.RUNNING).jobs == ()


def test_a_page_of_one_status_looks_at_so_many_jobs_and_goes_on_from_there(by_hand, monkeypatch):
    monkeypatch.setattr(redis_store, "LOOKED_AT_ONCE", 2)
    monkeypatch.setattr(redis_store, "MOST_LOOKED_AT", 3)
    b = by_hand()
    sent = [job.id for job in b.send("ada", *(asked() for _ in range(7))).jobs]
    b.store.cancel("ada", sent[0])
    pages, cursor = [], None
    while not pages or cursor is not None:
        page = b.store.list("ada", limit=3, status=JobStatus.CANCELLED, cursor=cursor)
        pages.append([job.id for job in page.jobs])
        cursor = page.next_cursor
    assert pages == [[], [], [sent[0]]]


def test_a_group_is_listed_by_its_id(by_hand):
    b = by_hand()
    accepted = b.send("ada", asked(), asked(), group=True)
    b.send_one("ada")
    assert {job.id for job in b.store.list("ada", limit=9, group=accepted.group).jobs} == {
        job.id for job in accepted.jobs
    }
    assert b.store.list("bob", limit=9, group=accepted.group).jobs == ()


def test_a_shared_computation_goes_on_until_the_last_job_lets_go(by_hand, redis):
    b = by_hand()
    one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
    run = b.start()
    assert b.store.cancel("ada", one.id).status is JobStatus.CANCELLED
    assert not redis.hexists(names.key("computation", QUEUE, run.computation), Field.CANCEL_REQUESTED)
    assert b.store.get("bob", two.id).status is JobStatus.RUNNING
    b.finish(run)
    assert b.store.get("ada", one.id).status is JobStatus.CANCELLED
    assert b.store.get("bob", two.id).status is JobStatus.SUCCEEDED
    with pytest.raises(JobEnded):
        b.store.cancel("bob", two.id)


def test_the_last_to_let_go_ends_it(by_hand, redis):
    b = by_hand()
    one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
    b.store.cancel("ada", one.id)
    b.store.cancel("bob", two.id)
    assert b.take() is None
    assert b.store.load().backlog == 0
    assert redis.hget(names.key("computation", QUEUE, one.computation), "status") == b"canceled"


def test_a_deleted_job_takes_a_shared_result_along_only_if_it_is_the_last(by_hand, redis):
    b = by_hand()
    one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
    b.compute()
    b.store.delete("ada", one.id)
    with pytest.raises(JobNotFound):
        b.store.get("ada", one.id)
    assert b.store.read_layer(b.store.get("bob", two.id), 1) == b"layer 1"
    b.store.delete("bob", two.id)
    left = {key.decode() for key in redis.scan_iter()}
    assert left <= {names.RQ_QUEUES, *(names.key(kind, QUEUE) for kind in ("flows", "backlog", "counters", "bell"))}


def test_an_expired_job_is_known_for_a_while_then_unknown(by_hand, redis):
    b = by_hand(result_ttl=1000, expired_ttl=2000)
    job = b.send_one("ada")
    b.compute()
    assert b.store.get("ada", job.id).status is JobStatus.SUCCEEDED
    pass_time(redis, 1500)
    with pytest.raises(JobExpired):
        b.store.get("ada", job.id)
    with pytest.raises(JobNotFound):
        b.store.get("bob", job.id)
    assert b.store.list("ada", limit=9).jobs == ()
    pass_time(redis, 2000)
    with pytest.raises(JobNotFound):
        b.store.get("ada", job.id)
    tidy(redis, QUEUE, server_time(redis))
    for kind in ("job", "computation", "events", "jobs"):
        assert not redis.keys(names.key(kind, QUEUE, "*"))


def test_a_part_that_is_gone_is_said_to_have_expired(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada")
    b.compute()
    redis.delete(*redis.keys(names.key("blob", QUEUE, "*")))
    shown = b.store.get("ada", job.id)
    with pytest.raises(ResultExpired):
        b.store.read_head(shown)
    with pytest.raises(ResultExpired):
        b.store.read_layer(shown, 0)


def kinds(page):
    return [event.kind for event in page.events]


def test_events_tell_the_whole_story_and_resume_anywhere(by_hand):
    b = by_hand()
    job = b.send_one("ada")
    run = b.start()
    b.moves.report(run, '{"phase": "computing", "done": 0, "total": 2, "unit": "layers"}')
    b.finish(run)
    events = b.store.read_events(job.computation, None, 100).events
    assert [e.kind for e in events] == ["queued", "started", "progress", "head", "layer", "layer", "succeeded"]
    assert events[1].data == {"attempt": 1}
    assert events[4].data["index"] == 0 and events[4].data["converged"] is True
    assert events[-1].final and events[-1].data == {"converged": True}
    for number, event in enumerate(events):
        page = b.store.read_events(job.computation, event.id, 100)
        assert page.events == events[number + 1 :]
        assert page.forgotten is None
    assert b.store.read_events(job.computation, None, 2).events == events[:2]


def test_only_progress_is_forgotten_and_the_gap_is_told(by_hand):
    b = by_hand(max_events=6)
    job = b.send_one("ada")
    run = b.start()
    started = b.store.read_events(job.computation, None, 100).events[-1]
    b.add_part(run, "head", b"{}")
    for number in range(20):
        b.moves.report(run, f'{{"phase": "computing", "done": {number}, "total": 20, "unit": "layers"}}')
        if number % 5 == 0:
            b.add_layer(run, number)
    page = b.store.read_events(job.computation, None, 100)
    assert kinds(page).count("layer") == 4
    assert len(page.events) <= 8
    assert page.events[-1].data["done"] == 19
    assert later(page.forgotten, started.id)
    assert not later(page.forgotten, page.events[-1].id)


def test_a_job_that_was_cancelled_by_itself_has_an_end_of_its_own(by_hand):
    b = by_hand()
    one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
    run = b.start()
    one = b.store.cancel("ada", one.id)
    b.finish(run)
    page = b.store.read_events(run.computation, None, 100, [one.id, two.id])
    assert kinds(page)[-1] == "succeeded"
    assert page.ends == {one.id: page.events[1].id}
    b.store.delete("bob", two.id)
    assert b.store.read_events(run.computation, None, 100, [one.id, two.id]).gone == {two.id}


def test_a_job_that_did_not_converge_says_so_even_if_an_earlier_attempt_found_it(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada")
    run = b.start(lease=-1)
    b.add_part(run, "head", b"{}")
    b.add_layer(run, 0, converged=False)
    take_over(redis, QUEUE, time.time() + 1)
    run = b.start()
    b.add_layer(run, 1)
    b.finish(run, layers=0)
    shown = b.store.get("ada", job.id)
    assert (shown.converged, [layer.converged for layer in shown.layers]) == (False, [False, True])
    assert b.store.read_events(shown.computation, None, 100).events[-1].data == {"converged": False}


def test_a_failed_job_that_is_sent_again_keeps_its_layers_and_starts_its_events_anew(by_hand):
    b = by_hand()
    job = b.send_one("ada")
    run = b.start()
    b.add_layer(run, 0)
    b.moves.fail(run.place, run.computation, {"code": "x"}, dead=True)
    assert b.store.retry(job.id).status is JobStatus.QUEUED
    assert kinds(b.store.read_events(job.computation, None, 100)) == ["queued", "layer"]
    assert b.send_one("bob", asked(digest=job.work_digest)).computation == job.computation
    b.compute()
    assert b.store.get("ada", job.id).status is JobStatus.SUCCEEDED
    assert b.store.load().backlog == 0


def test_a_cancelled_job_can_come_back_to_what_goes_on_without_it(by_hand):
    b = by_hand()
    one, two = b.send_one("ada", asked("same")), b.send_one("bob", asked("same"))
    b.store.cancel("ada", one.id)
    assert b.store.retry(one.id).status is JobStatus.QUEUED
    b.store.cancel("bob", two.id)
    b.compute()
    assert b.store.get("ada", one.id).status is JobStatus.SUCCEEDED


def test_webhooks_are_due_when_jobs_end(by_hand, redis):
    b = by_hand()
    done = b.send_one("ada", asked("same", webhook="https://a.example/hook"))
    b.send_one("bob", asked("same"))
    cancelled = b.send_one("ada", asked(webhook="https://a.example/hook"))
    assert redis.zcard(names.key("webhooks", QUEUE)) == 0
    b.compute()
    b.store.cancel("ada", cancelled.id)
    late = b.send_one("eve", asked("same", webhook="https://e.example/hook"))
    due = {raw.decode() for raw in redis.zrange(names.key("webhooks", QUEUE), 0, -1)}
    assert due == {done.id, cancelled.id, late.id}
    assert b.store.get(None, done.id).webhook == "https://a.example/hook"


def test_what_happened_is_counted(by_hand, redis):
    b = by_hand()
    b.send_one("ada", asked("same"))
    b.send_one("bob", asked("same"))
    b.start(lease=-1)
    take_over(redis, QUEUE, time.time() + 1)
    run = b.start()
    b.add_layer(run, 0, nodes={7: 10, 3000: 1}, unconverged=1)
    b.finish(run, compute=0.3, load=2.0, loaded=True)
    b.send_one("eve", asked("same"))
    b.store.cancel("ada", b.send_one("ada").id)
    found = counters.parse(redis.hgetall(names.key("counters", QUEUE)))
    assert found.counters["jobs_accepted"] == {"": 4}
    assert found.counters["jobs_ended"] == {"succeeded": 3, "failed": 0, "cancelled": 1}
    assert found.counters["coalesced"] == {"running": 1, "finished": 1}
    assert (found.counters["retries"], found.counters["abandoned"]) == ({"": 1}, {"": 1})
    assert (found.counters["model_loads"], found.counters["unconverged_targets"]) == ({"": 1}, {"": 1})
    nodes = found.histograms["nodes"]
    assert (nodes.counts[nodes.bounds.index(8)], nodes.counts[-1], nodes.sum) == (10, 1, 3070)
    compute = found.histograms["compute_seconds"]
    assert (compute.counts[compute.bounds.index(0.5)], sum(compute.counts)) == (1, 1)
    assert_close(compute.sum, 0.3, 1e-9)
    assert sum(found.histograms["wait_seconds"].counts) == 1


def test_the_measured_rate_follows_the_last_jobs(by_hand):
    b = by_hand()
    assert b.store.load().rate is None
    for seconds in (1.0, 1.0, *(4.0,) * 30):
        b.send_one("ada", asked(work=10.0))
        b.finish(b.start(), compute=seconds)
    assert_close(b.store.load().rate, 0.4, 0.1)
    b.send_one("ada", asked(work=10.0))
    b.finish(b.start(), compute=900.0, whole=False)  # layers were left from an earlier attempt
    assert_close(b.store.load().rate, 0.4, 0.1)


def test_timings_are_told(by_hand):
    b = by_hand()
    job = b.send_one("ada")
    b.finish(b.start(), compute=1.5, load=0.5, loaded=True)
    timings = b.store.get("ada", job.id).timings
    assert 0 <= timings.queue < 5
    assert (timings.load, timings.compute) == (0.5, 1.5)


def test_an_ended_job_s_text_is_what_was_asked(by_hand):
    b = by_hand()
    job = b.send_one("ada", asked("Grüße 🙂 \u2028"))
    b.compute()
    assert b.store.get("ada", job.id).request == job.request
    assert job.request.text == "Grüße 🙂 \u2028"
