"""The page of a running service, with the real worker: layers as they come, comparisons, links, and what is fetched."""

import re

import pytest
from playwright.sync_api import expect

from tests.running.served import REAL, Serve

TEXT = "The trophy did not fit into the suitcase because it was too large."
OTHER = "The trophy did not fit into the brown suitcase because they were large."
MOST_FETCHED = 1.2
"""Of the bytes of the slices that are shown."""
LEAST_SHOWN = 300
"""Pixels of map and of flow that are in view, without scrolling, when a job is done."""
MINUTES = 10


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    run = Serve(REAL, tmp_path_factory.mktemp("data")).wait_until_ready()
    yield run.url
    run.process.kill()
    run.process.communicate()


@pytest.fixture
def open_page(new_context, service):
    trouble = []
    context = new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(MINUTES * 60_000)
    page = context.new_page()
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.goto(service)
    yield page
    assert trouble == []


def explain(page, text, *maps):
    page.fill("#text", text)
    page.click(".ask summary")
    for name in maps:
        page.check(f"[name=maps][value={name}]")
    page.click("#explain")


def done(page):
    page.get_by_text("Done", exact=True).wait_for()


def job_of(page):
    return re.search(r"job=(\w+)", page.url)[1]


def in_view(page, selector):
    box = page.locator(selector).bounding_box()
    return min(768, box["y"] + box["height"]) - max(0, box["y"])


def test_layers_are_drawn_as_they_come_and_little_else_is_fetched(open_page):
    page, fetched = open_page, []
    page.on("requestfinished", lambda request: fetched.append(request) if "/v1/jobs/" in request.url else None)
    explain(page, TEXT)
    page.locator(".strip canvas").first.wait_for()
    early = page.inner_text("#status")
    assert early.startswith("Computing") or early == "Done"
    done(page)
    page.locator(".strip canvas").nth(5).wait_for()
    page.locator(".sentence button", has_text="it").first.click()
    assert in_view(page, "#map") >= LEAST_SHOWN
    assert in_view(page, "#flow") >= LEAST_SHOWN
    page.wait_for_load_state("networkidle")
    sizes = [(request.url, request.sizes()["responseBodySize"]) for request in fetched]
    slices = [size for url, size in sizes if "/result?" in url]
    assert len(slices) == 6
    assert sum(size for _, size in sizes) <= MOST_FETCHED * sum(slices)


def test_a_reload_and_the_way_back_restore_what_was_looked_at(open_page):
    page = open_page
    explain(page, TEXT, "att")
    done(page)
    page.locator(".sentence button").nth(3).click()
    page.locator(".strip button").nth(2).click()
    expect(page.locator("#map-title")).to_contain_text("Layer 3")
    shown, flow, title = page.inner_text("#map-title"), page.inner_text("#flow-title"), page.title()
    page.fill("#text", "something else")
    page.reload()
    done(page)
    page.locator("#flow").wait_for()
    expect(page.locator("#map-title")).to_have_text(shown)
    expect(page.locator("#flow-title")).to_have_text(flow)
    expect(page).to_have_title(title)
    expect(page.locator("#text")).to_have_value(TEXT)
    expect(page.locator("[name=maps][value=att]")).to_be_checked()
    page.go_back()
    page.locator("#map-title", has_text="Layer 5").wait_for()


def test_two_jobs_two_sentences_and_two_baselines_are_compared(open_page):
    page = open_page
    explain(page, TEXT)
    done(page)
    first = job_of(page)
    explain(page, OTHER, "composed")
    page.locator(".sentence", has_text="brown").wait_for()
    done(page)
    page.locator("[name=view][value=compare]").check()
    page.locator(f"#b option[value='{first}']").wait_for(state="attached")
    page.select_option("#b", first)
    page.locator(".texts mark").first.wait_for()
    expect(page.locator(".texts mark")).to_have_text(["brown", "they", "were", "it", "was", "too"])
    page.locator("table").wait_for()
    page.select_option("#b", "product")
    page.locator("#map-title", has_text="b − a").wait_for()
    page.select_option("#other-baseline", "zero")
    page.locator(".texts", has_text="The same tokens.").wait_for()
    expect(page.locator("table tbody tr")).to_have_count(8)
    page.reload()
    page.locator(".texts", has_text="The same tokens.").wait_for()
