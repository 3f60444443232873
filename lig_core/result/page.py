"""A result as one HTML page: it loads nothing from anywhere, so it can be saved, sent and opened offline."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

TITLE_CHARACTERS = 80
"""Longest part of the explained text that goes into the page's title."""

_SLOT = re.compile(r"\{\{(title|policy)\}\}")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
# None of these characters occurs in JSON outside a string, so escaping them everywhere is still JSON. Without
# `<`, no text can end the script element or open a comment in it.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render_page(result: Mapping[str, Any]) -> str:
    """The page that shows `result`, a document as `explain` returns it or the service serves it.

    Whatever maps the document holds can be looked at; what it lacks is left out. NaN is read as null.
    """
    document = orjson.dumps(dict(result), option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join(write_page(result, [document])).decode()


def write_page(about: Mapping[str, Any], document: Iterable[bytes]) -> Iterator[bytes]:
    """The same, of a document that comes as parts of JSON, each of whole characters; `about` has its text and model."""
    values = {"title": html.escape(_title(about)), "policy": page_policy()}
    before, after = (
        # One pass, so that a slot's name inside the text stays text.
        _SLOT.sub(lambda slot: values[slot[1]], part).encode()
        for part in _template().split("{{data}}")
    )
    yield before
    for part in document:
        yield part.decode().translate(_ESCAPES).encode()  # JSON that can stand inside a script element
    yield after


def _title(result: Mapping[str, Any]) -> str:
    text = " ".join(str(result.get("text", "")).split())
    if len(text) > TITLE_CHARACTERS:
        text = text[: TITLE_CHARACTERS - 1].rstrip() + "…"
    return f"{text} · {result.get('model', '')} · Layer-wise Integrated Gradients"


@cache
def _template() -> str:
    return (files("lig_core.result") / "page.html").read_text(encoding="utf-8")


@cache
def page_policy() -> str:
    """A Content-Security-Policy under which the page's own script runs, nothing else does, and nothing loads."""
    return (
        f"default-src 'none'; script-src {script_source(_template())}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def page_script() -> str:
    """The source that a policy must allow for the page's own script to run, where the page is shown inside another."""
    return script_source(_template())


def script_source(page: str) -> str:
    """The source expression of a policy that allows the one inline script of a page, and no other."""
    (script,) = _SCRIPT.findall(page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"
