"""What is sent again, when, and what never happens twice."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from lig_core.client import ServiceUnreachable, retries
from lig_core.errors import ServiceError
from tests.unit.lig_core.client.answers import job, ok, problem

LOST = httpx.ReadError("reset")


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that clients asked for, none of which was made."""
    made = []

    async def remember(seconds):
        made.append(seconds)

    monkeypatch.setattr("lig_core.client.sync.time.sleep", made.append)
    monkeypatch.setattr("lig_core.client.aio.anyio.sleep", remember)
    return made


def test_a_submission_whose_answer_was_lost_is_repeated_with_the_same_key_and_body(client, asked):
    client(LOST, httpx.ConnectError("refused"), problem(503), ok(job("queued"), 202)).submit("hi")
    assert len(asked) == 4
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    assert len({request.read() for request in asked}) == 1


def test_a_submission_that_is_still_being_accepted_is_asked_for_again(client, asked):
    client(LOST, problem(409), ok(job("queued"), 202)).submit("hi")
    assert len(asked) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_as_late_as_it_says(client, pauses, status):
    client(problem(status, headers={"Retry-After": "7"}), ok(job("queued"), 202)).submit("hi")
    (pause,) = pauses
    assert 7 <= pause <= 7 * (1 + retries.JITTER)


def test_a_date_is_understood_as_well(client, pauses):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    client(problem(503, headers={"Retry-After": date}), ok(job("queued"))).job("j")
    assert 50 < pauses[0] < 70


@pytest.mark.parametrize("value", ["soon", "", "-1"])
def test_nonsense_is_passed_over(client, pauses, value):
    client(problem(503, headers={"Retry-After": value}), ok(job("queued"))).job("j")
    assert pauses == [0.0]


def test_pauses_of_the_client_itself_double(client, pauses, monkeypatch):
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", 1.0)
    with pytest.raises(ServiceUnreachable):
        client(*[LOST] * 4, max_retries=3).job("j")
    assert [0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses)] == [True] * 3


def test_pauses_grow_no_longer_than_half_a_minute(client, pauses, monkeypatch):
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", 20.0)
    with pytest.raises(ServiceUnreachable):
        client(*[LOST] * 4, max_retries=3).job("j")
    assert [low <= pause <= 2 * low for low, pause in zip((10, 15, 15), pauses, strict=True)] == [True] * 3


def test_a_client_of_another_patience_leaves_the_first_as_it_is(client, asked):
    first = client(LOST, LOST, ok(job("running")))
    with pytest.raises(ServiceUnreachable):
        first.with_retries(0, 300.0).job("j")
    assert len(asked) == 1
    assert first.job("j")["status"] == "running"
    assert len(asked) == 3


def test_the_last_refusal_is_raised_when_the_retries_are_used_up(client, asked):
    with pytest.raises(ServiceError) as caught:
        client(*[problem(429, "over_quota")] * 3, max_retries=2).submit("hi")
    assert caught.value.problem["code"] == "over_quota"
    assert len(asked) == 3


def test_a_pause_beyond_the_time_allowed_is_not_begun(client, pauses):
    busy = problem(429, headers={"Retry-After": "3600"})
    with pytest.raises(ServiceError):
        client(busy, retry_seconds=60).submit("hi")
    with pytest.raises(ServiceError):
        client(busy, retry_seconds=7200).explain("hi", timeout=60)
    assert pauses == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 500, 502, 504])
def test_no_other_status_is_asked_for_again(client, asked, status):
    with pytest.raises(ServiceError):
        client(problem(status, headers={"Retry-After": "0"})).job("j")
    assert len(asked) == 1


def by_a_proxy(status):
    return httpx.Response(status, html="<h1>Bad Gateway</h1>")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_reaches_no_service_is_asked_again(client, asked, status):
    client(by_a_proxy(status), by_a_proxy(status), ok(job("queued"), 202)).submit("hi")
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    assert len(asked) == 3


@pytest.mark.parametrize("status", [502, 503, 504])
def test_behind_a_proxy_a_service_that_stays_away_is_unreachable(client, asked, status):
    with pytest.raises(ServiceUnreachable, match=f"a proxy at http://.* answered {status}"):
        client(*[by_a_proxy(status)] * 3, max_retries=2).job("j")
    assert len(asked) == 3


def test_a_proxy_says_when_to_come_back(client, pauses):
    answer = httpx.Response(503, html="<h1>Maintenance</h1>", headers={"Retry-After": "7"})
    client(answer, ok(job("queued"))).job("j")
    assert 7 <= pauses[0] <= 7 * (1 + retries.JITTER)


@pytest.mark.parametrize("lost", [lambda: LOST, lambda: by_a_proxy(502), lambda: by_a_proxy(504)])
def test_a_deletion_whose_answer_was_lost_is_done(client, lost):
    assert client(lost(), problem(404, "job_not_found")).delete("j") is None


def test_a_deletion_of_nothing_is_refused(client):
    with pytest.raises(ServiceError):
        client(problem(404, "job_not_found")).delete("j")


def test_waiting_ends_at_the_timeout_and_leaves_the_job(client, asked):
    with pytest.raises(TimeoutError, match="still running after 0 s"):
        client(ok(job("running"))).wait("j", timeout=0)
    assert [request.method for request in asked] == ["GET"]


def test_explain_leaves_the_rest_of_its_timeout_to_the_wait(client, asked):
    with pytest.raises(TimeoutError):
        client(ok(job("queued"), 202), *[ok(job("running"))] * 10_000).explain("hi", timeout=0.2)
    assert float(asked[1].url.params["wait"]) <= 0.2
