"""Behind a path prefix every link has it: for prefixes drawn from a seed, over all routes that make links."""

import contextlib
import random
import re
import string
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.app import create_app
from service.http.prefix import HEADER
from service.jobs.redis_store import RqJobStore
from service.settings import OWN_PATHS, Settings
from tests.running.asking import ABOUT_A_JOB, jobs_in_every_state, routes
from tests.running.by_hand import asked

OWNER = "anonymous"
LETTERS = string.ascii_letters + string.digits + "._~!$&'()*+;=:@-"
BODY = {"text": "The cat sat.", "model": "minilm"}
BEGINS = r"""(?<![^\s"'<(])"""
PATH = re.compile(BEGINS + r"""/[^\s"'<>;?]*""")
ENDED = ("succeeded", "failed", "cancelled", "expired", "forgotten")


def prefix_of(draw):
    """Segments of any characters that need no encoding, of words that routes have too, and of those together."""
    while True:
        segments = [
            draw.choice(["".join(draw.choices(LETTERS, k=draw.randint(1, 6))), draw.choice(sorted(OWN_PATHS))])
            for _ in range(draw.randint(1, 3))
        ]
        if segments[0] not in OWN_PATHS and not {".", ".."} & {*segments}:
            return "".join(f"/{segment}" for segment in segments)


def requests(b):
    """What is asked for: every route that tells of jobs, in every state, and every kind of error."""
    jobs = jobs_in_every_state(b, OWNER)
    own = jobs["own"].id
    for state in ENDED:
        for (method, path), ways in ABOUT_A_JOB.items():
            for way in ways if method == "GET" else ():
                params = {
                    name: {"JOB": jobs[state].id, "OWN": own}.get(value, value) for name, value in way.params.items()
                }
                yield method, path.replace("{job_id}", jobs[state].id), {"params": params, "headers": way.headers}
    for state in ("queued", "running"):
        for path in ("", "/result"):
            yield "GET", f"/v1/jobs/{jobs[state].id}{path}", {}
        yield "POST", f"/v1/jobs/{jobs[state].id}/cancel", {}
    yield "POST", f"/v1/jobs/{own}/cancel", {}
    for _ in range(2):  # the second time the job is there, or its answer
        yield "POST", "/v1/explain", {"json": BODY, "headers": {"Idempotency-Key": "k", "Prefer": "wait=0"}}
        yield "POST", "/explain", {"json": BODY}
    yield "POST", "/v1/explain/batch", {"json": {"texts": ["a", "b"], "options": {"model": "minilm"}}}
    yield "POST", "/v1/explain/estimate", {"json": BODY}
    for path in (
        "/v1/jobs",
        "/v1/jobs?limit=1",
        "/jobs?limit=1&status=queued",
        "/v1/models",
        "/models/minilm/boundaries",
    ):
        yield "GET", path, {}
    for path in ("/livez", "/readyz", "/startupz", "/v1/jobs/", "/jobs/", "/docs/", "/openapi.json/"):
        yield "GET", path, {}
    yield "POST", "/v1/explain", {"json": {**BODY, "layers": "x"}}
    yield "POST", "/v1/explain", {"content": b"{", "headers": {"Content-Type": "application/json"}}
    yield "POST", "/v1/explain", {"content": b"x" * 300_000, "headers": {"Content-Type": "application/json"}}
    yield "GET", "/v1/jobs?limit=x", {}
    yield "GET", "/v1/nothing", {}
    yield "PUT", "/v1/jobs", {}
    yield "DELETE", f"/v1/jobs/{own}", {}


class Place:
    """The service under a prefix, as its callers reach it."""

    def __init__(self, redis_url, prefix="", *, says_so=False, takes_it_off=True):
        settings = Settings(root_path="" if says_so else prefix)
        self.headers = {HEADER: prefix} if says_so else {}
        self.taken_off = prefix if takes_it_off else ""
        app = create_app(settings, RqJobStore(redis_url, settings))
        self.api = TestClient(app, client=("127.0.0.1", 5000), follow_redirects=False)

    def __call__(self, method, path, **request):
        headers = {"X-Request-Id": "the-same", **(request.pop("headers", None) or {}), **self.headers}
        return self.api.request(method, path.removeprefix(self.taken_off) or "/", headers=headers, **request)


WAYS = {
    "the proxy takes it off and says so": {"says_so": True},
    "the proxy takes it off, the setting says so": {},
    "the proxy leaves it, the setting says so": {"takes_it_off": False},
}


def paths_of(answer, prefix):
    """Everything in an answer that is a path, where a redirect leads too; ids and the prefix as words."""
    told = "\n".join([answer.headers.get("Location", ""), answer.headers.get("Link", ""), answer.text])
    if prefix:
        told = re.sub(BEGINS + re.escape(prefix) + "(?=/)", "/PREFIX", told)
    return [re.sub("[0-9a-f]{32}", "ID", path) for path in PATH.findall(told)]


def under_prefix(path):
    """The path as it is to be told: JSON pointers are no paths of the service."""
    return f"/PREFIX{path}" if path.split("/")[1] in OWN_PATHS else path


def everything(redis, by_hand, prefix, place):
    redis.flushall()
    told = []
    with place.api:
        for method, path, request in requests(by_hand()):
            answer = place(method, prefix + path, **request)
            told.append(((method, re.sub("[0-9a-f]{32}", "ID", path)), answer.status_code, paths_of(answer, prefix)))
    return told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_link_of_every_route_has_the_prefix(redis_url, redis, by_hand, seed):
    prefix = prefix_of(random.Random(seed))
    plain = everything(redis, by_hand, "", Place(redis_url))
    assert sum(len(paths) for _, _, paths in plain) > 100
    for how, way in WAYS.items():
        told = everything(redis, by_hand, prefix, Place(redis_url, prefix, **way))
        for (asked_for, status, paths), got in zip(plain, told, strict=True):
            assert got == (asked_for, status, [*map(under_prefix, paths)]), (prefix, how)


@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.parametrize("how", WAYS)
def test_links_lead_where_they_say_and_pages_find_what_they_need(redis_url, by_hand, seed, how):
    prefix = prefix_of(random.Random(seed))
    place = Place(redis_url, prefix, **WAYS[how])
    with place.api:
        accepted = place("POST", f"{prefix}/v1/explain", json=BODY)
        links = accepted.json()["links"]
        for link in (accepted.headers["Location"], links["self"]):
            assert link.startswith(f"{prefix}/v1/jobs/")
            assert place("GET", link).json()["id"] == accepted.json()["id"]
        assert place("POST", links["cancel"]).json()["status"] == "cancelled"
        assert "event: cancelled" in place("GET", links["events"]).text
        batch = place("POST", f"{prefix}/v1/explain/batch", json={"texts": ["a", "b"], "options": {"model": "minilm"}})
        assert len(place("GET", batch.headers["Location"]).json()["jobs"]) == 2
        page = place("GET", f"{prefix}/v1/jobs", params={"limit": 2})
        assert len(place("GET", page.links["next"]["url"]).json()["jobs"]) == 1
        described = place("GET", f"{prefix}/openapi.json").json()
        assert described["servers"] == [{"url": prefix}]
        assert place("GET", described["servers"][0]["url"] + "/v1/models").status_code == 200
        if not place.taken_off:  # else it is the proxy that sees the slash missing
            assert place("GET", prefix).headers["Location"] == f"{prefix}/"
        asked = re.findall(r"fetch\((.{4})", place("GET", f"{prefix}/").text)
        assert asked and set(asked) == {"`v1/"}  # wherever the page is
        for page in ("/", "/docs"):
            found = place("GET", f"{prefix}{page}")
            named = re.findall(
                r"""(?:href|src)="([^"]+)"|url: "([^"]+)"|(?:fetch|call)\([`"]([^`"$]+)[`"]""", found.text
            )
            parts = [part for match in named for part in match if part and not part.startswith(("data:", "${"))]
            assert parts or page == "/"
            for part in parts:
                reached = place("GET", urljoin(f"{prefix}{page}", part))
                assert reached.status_code in (200, 405), part  # 405: it is there for POST


def test_the_prefix_is_in_webhooks_and_in_the_operator_s_view(redis_url, by_hand):
    from service.jobs.overview import Overview
    from service.webhooks.deliveries import payload

    b = by_hand(root_path="/lig")
    job = b.send_one("ada", asked())
    assert f'"self":"/lig/v1/jobs/{job.id}"' in payload(job, "/lig")
    assert Overview(redis_url, Settings(root_path="/lig/")).root == "/lig"


HOSTILE = [
    "//evil.example",
    "/a//b",
    "http://evil.example",
    "evil",
    "/a/../b",
    "/..",
    "/.",
    "/a b",
    "/a<b>",
    '/a"b',
    "/a\\b",
]


def self_link(redis_url, by_hand, told, client, **settings):
    found = Settings(**settings)
    job = by_hand().send_one(OWNER)
    with TestClient(create_app(found, RqJobStore(redis_url, found)), client=(client, 5000)) as api:
        answer = api.get(f"/v1/jobs/{job.id}", headers=[(HEADER, each) for each in told])
        return answer.json()["links"]["self"].removesuffix(f"/v1/jobs/{job.id}")


@pytest.mark.parametrize(
    ("client", "proxies", "believed"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("::ffff:127.0.0.1", None, True),
        ("10.1.2.3", None, False),
        ("testclient", None, False),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("127.0.0.1", ["10.0.0.0/8"], False),
        ("127.0.0.1", [], False),
    ],
)
def test_only_a_trusted_proxy_is_believed(redis_url, by_hand, client, proxies, believed):
    settings = {} if proxies is None else {"trusted_proxies": proxies}
    assert self_link(redis_url, by_hand, ["/a/b"], client, **settings) == ("/a/b" if believed else "")
    assert self_link(redis_url, by_hand, ["/a"], client, root_path="/lig", **settings) == ("/a" if believed else "/lig")


def test_what_a_proxy_says_is_a_prefix_or_nothing(redis_url, by_hand):
    for told in HOSTILE:
        assert self_link(redis_url, by_hand, [told], "127.0.0.1") == ""
        assert self_link(redis_url, by_hand, [told], "127.0.0.1", root_path="/lig") == "/lig"
    for told, expected in (
        (["/a/"], "/a"),
        (["/a, /b"], "/a/b"),
        (["/a", "/b/"], "/a/b"),
        ([""], ""),
        (["/"], ""),
        (["/v1"], "/v1"),
    ):
        assert self_link(redis_url, by_hand, told, "127.0.0.1") == expected


def test_a_setting_that_is_no_prefix_or_hides_a_route_is_refused(redis_url):
    app = create_app(Settings(), RqJobStore(redis_url, Settings()))
    there = {path.split("/")[1] for _, path in routes(app)} | {"docs", "openapi.json", "livez", "readyz", "startupz"}
    assert there == OWN_PATHS, "a new route: no prefix of the setting may begin as it does"
    for refused in (*HOSTILE, *(f"/{own}" for own in OWN_PATHS), "/v1/x"):
        with contextlib.suppress(ValidationError):
            pytest.fail(f"{refused!r} was taken as {Settings(root_path=refused).root_path!r}")
    for taken in ("", "/", "/lig/", "/lig/v1", "/v1x"):
        assert Settings(root_path=taken).root_path == taken.rstrip("/")
    for proxies in (["x"], ["10.0.0.1/8"], ["10.0.0.0/99"]):
        with pytest.raises(ValidationError):
            Settings(trusted_proxies=proxies)
