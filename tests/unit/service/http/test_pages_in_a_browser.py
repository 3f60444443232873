"""The viewer and the API's documentation in a real browser, over HTTP, over jobs carried out by hand."""

import json
import socket
import threading
import time

import pytest
import uvicorn
from pydantic import SecretStr

from lig_core.errors import NotConverged
from service.app import create_app
from service.keys.keyring import new_key
from service.settings import Settings
from tests.support.made_results import made_head, made_layer

HEAD, LAYERS = made_head(layers=[0, 2]), [made_layer(0), made_layer(2)]


def sse(*events):
    blocks = [f"id: {k}-0\nevent: {name}\ndata: {json.dumps(data)}\n\n" for k, (name, data) in enumerate(events, 1)]
    return {
        "status": 200,
        "headers": {"Content-Type": "text/event-stream"},
        "body": "retry: 1000\n\n" + "".join(blocks),
    }


@pytest.fixture
def serve(jobs):
    """Serves the application on a free port; returns its address."""
    stops = []

    def start(settings):
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings, jobs), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        stops.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield start
    for server, thread in stops:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def open_page(new_context):
    """Opens a page; afterwards nothing may have been raised, and nothing loaded from elsewhere."""
    context = new_context(viewport={"width": 1100, "height": 900})
    trouble, asked = [], []

    def open_at(address):
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda m: trouble.append(m.text) if "Content Security Policy" in m.text else None)
        page.on("request", lambda request: asked.append(request.url))
        page.route(
            "**/v1/jobs/*/events?layers=false", lambda route: route.fulfill(status=404)
        )  # a test's own route goes before
        page.goto(address)
        return page

    yield open_at
    context.close()
    assert trouble == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:", "data:"))] == []


def finished(jobs, owner="anonymous"):
    jobs.finish(jobs.only(owner).id, HEAD, LAYERS)


def test_a_text_becomes_maps_by_events(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    page.route(
        "**/v1/jobs/*/events?layers=false",
        lambda route: (
            finished(jobs),
            route.fulfill(
                **sse(
                    ("queued", {}),
                    ("started", {"attempt": 1}),
                    ("head", HEAD),
                    ("progress", {"phase": "computing", "done": 1, "total": 2, "unit": "layers"}),
                    ("layer", {"layer": 0}),
                    ("layer", {"layer": 2}),
                    ("succeeded", {"converged": True, "result": "/v1/jobs/job0/result"}),
                )
            ),
        ),
    )
    page.fill("#text", "cats sat")
    page.click(".ask summary")
    page.fill("#layers", "0, 3-5")
    page.check("[name=maps][value=att]")
    page.click("#explain")
    page.locator(".strip canvas").nth(1).wait_for()
    assert "Layer 2" in page.inner_text("#map-title")
    page.get_by_text("Done", exact=True).wait_for()
    (sent,) = [submission.request for submission in jobs.submissions]
    assert (sent.text, sent.layers, sent.granularity) == ("cats sat", [0, 3, 4, 5], ["layer", "att"])
    assert f"job={jobs.only().id}" in page.url
    assert page.title().startswith("cats sat")


def test_without_events_it_follows_by_asking(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    page.click("#explain")
    page.get_by_text("Queued", exact=False).wait_for()
    finished(jobs)
    page.locator("#map").wait_for()
    with page.expect_download() as saved:
        page.click("#save-page")
    assert saved.value.suggested_filename == "lig.html"
    assert 'id="results"' in saved.value.path().read_text()


def test_a_broken_stream_is_resumed_where_it_broke(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    resumed = []

    def answer(route):
        resumed.append(route.request.headers.get("last-event-id"))
        if len(resumed) == 1:
            return route.fulfill(**sse(("queued", {}), ("started", {"attempt": 1})))
        finished(jobs)
        return route.fulfill(**sse(("succeeded", {"converged": True})))

    page.route("**/v1/jobs/*/events?layers=false", answer)
    page.click("#explain")
    page.locator("#map").wait_for()
    assert resumed == [None, "2-0"]


def test_a_key_goes_with_every_request_and_is_asked_for_when_it_lacks(serve, open_page, jobs):
    key, entry = new_key("ci", ["explain", "read"])
    page = open_page(serve(Settings(keys=SecretStr(json.dumps([entry.model_dump(mode="json")])))))
    page.click("#explain")
    page.locator("#problem").wait_for()
    assert "no key was sent" in page.inner_text("#problem")
    assert page.evaluate("document.activeElement.id") == "key"

    page.fill("#key", key)
    sent = []
    page.on("request", lambda request: sent.append(request) if "/result" in request.url else None)
    page.click("#explain")
    page.get_by_text("Queued", exact=False).wait_for()
    finished(jobs, "ci")
    page.locator("#map").wait_for()
    assert {request.headers["authorization"] for request in sent} == {f"Bearer {key}"}
    assert page.locator("#problem").count() == 0
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert key not in stored


def test_the_callers_jobs_are_listed_and_shown(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    page.fill("#text", "cats sat")
    page.click("#explain")
    page.get_by_text("Queued", exact=False).wait_for()
    finished(jobs)
    page.locator("#map").wait_for()
    page.click("h1 a")
    page.click("#jobs summary")
    page.locator("#jobs li button", has_text="cats sat").click()
    page.locator("#map").wait_for()
    assert page.input_value("#text") == HEAD["text"]


def test_a_refused_field_is_marked_and_focused(serve, open_page):
    page = open_page(serve(Settings()))
    page.click(".ask summary")
    page.fill("#layers", "99")
    page.click("#explain")
    page.locator("#problem").wait_for()
    assert "minilm has layers 0 to 5" in page.inner_text("#problem")
    assert page.evaluate("document.activeElement.id") == "layers"
    assert page.get_attribute("#layers", "aria-invalid") == "true"
    page.click(".ask summary") if not page.locator("#layers").is_visible() else None
    page.fill("#layers", "first")
    page.click("#explain")
    page.get_by_text("is no layer").wait_for()


def test_an_unknown_model_is_marked(serve, open_page):
    page = open_page(serve(Settings()))
    page.fill("#model", "no/such-model")
    page.click("#explain")
    page.locator("#problem").wait_for()
    assert page.get_attribute("#model", "aria-invalid") == "true"


def test_a_failed_job_says_why(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    page.click("#explain")
    page.get_by_text("Queued", exact=False).wait_for()
    jobs.fail(jobs.only().id, NotConverged("ask for a larger rtol"))
    page.get_by_text("ask for a larger rtol").wait_for()


def test_a_job_can_be_cancelled(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    page.click("#explain")
    page.click("#cancel")
    page.get_by_text("Cancelled", exact=True).wait_for()
    assert jobs.only().status == "cancelled"
    assert page.locator("#cancel").count() == 0


def test_an_estimate_queues_nothing(serve, open_page, jobs):
    page = open_page(serve(Settings()))
    page.click(".ask summary")
    page.fill("#text", "The cat sat on the mat.")
    page.click("#estimate")
    page.get_by_text("Estimate: 9 tokens").wait_for()
    assert not jobs.submissions


def test_the_docs_show_the_routes(serve, open_page):
    page = open_page(serve(Settings()) + "docs")
    page.get_by_text("/v1/explain", exact=True).first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(serve, new_context, scheme):
    context = new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(serve(Settings()))
    paper, ink, soft = (
        page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')").strip()
        for name in ("paper", "ink", "soft")
    )
    assert contrast(paper, ink) > 7
    assert contrast(paper, soft) > 4.5


def test_every_control_has_a_name(serve, open_page):
    page = open_page(serve(Settings()))
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea, button, progress')].filter((e) => !(e.labels?.length "
        "|| (e.textContent.trim() && e.localName === 'button') || e.title || e.ariaLabel)).map((e) => e.outerHTML)"
    )
    assert unnamed == []


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
