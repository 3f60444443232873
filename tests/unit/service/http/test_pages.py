"""The pages for people: what they load, and what they may do."""

import re

import pytest

from lig_core.result.viewer.page import script_source

NAMESPACES = ("http://www.w3.org/",)  # nothing loads them


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_its_own_script_alone_and_cannot_be_framed(api, path):
    answer = api.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert script_source(answer.text) in policy
    scripts = re.search(r"script-src ([^;]*)", policy)[1]
    assert "unsafe" not in scripts
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_names_nothing_outside_this_service(api, path):
    page = api.get(path).text
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[\w./]*", page)
    assert [address for address in addresses if not address.startswith(NAMESPACES)] == []


def test_all_that_the_docs_load_is_here(api):
    page = api.get("/docs").text
    loaded = [address for address in re.findall(r'(?:src|href|url)(?:="|: ")([^"]+)"', page) if "data:" not in address]
    assert len(loaded) >= 3
    for address in loaded:
        assert api.get(f"/{address}").status_code == 200, address


def test_there_is_no_other_page_of_documentation(api):
    assert api.get("/redoc").status_code == 404


def test_the_viewer_may_ask_its_own_service_alone(api):
    policy = api.get("/").headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "style-src 'sha256-" in policy
    assert "frame-src" not in policy
