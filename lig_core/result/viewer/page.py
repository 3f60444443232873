"""Results as one HTML page: it loads nothing from anywhere, so it can be saved, sent and opened offline.

The page holds the heads as JSON and each map of each layer as safetensors in base64, so that every digit is exact. What
would make it larger than MOST_BYTES is left out, the maps of most layers last, and the page says so.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from lig_core.contract import MapName
from lig_core.result.alignment import align
from lig_core.result.arrays import NAMES, Head, LayerArrays, Result
from lig_core.result.plain.text import to_json
from lig_core.result.read import from_document
from lig_core.result.verdict import Verdict

TITLE_CHARACTERS = 80
"""Longest part of the explained text that goes into the page's title."""
MOST_BYTES = 20_000_000
"""Of maps in one page."""
PRECEDENCE: tuple[MapName, ...] = ("layer", "composed", "att", "mlp")
"""The maps, those first that have room first."""

LIVE = "connect-src 'self'"
"""What the page that holds no result may do besides: ask the service that it comes from."""

_SLOT = re.compile(r"\{\{(title|policy|style|script)\}\}")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
# None of these characters occurs in JSON outside a string, so escaping them everywhere is still JSON. Without
# `<`, no text can end the script element or open a comment in it.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render_page(result: Mapping[str, Any]) -> str:
    """The page that shows `result`, a document as `explain` returns it or the service serves it.

    Whatever maps the document holds can be looked at. Raises ValueError where it holds only the largest entries.
    """
    return b"".join(write_page(*from_document(result))).decode()


def write_page(head: Head, layers: Iterable[LayerArrays]) -> Iterator[bytes]:
    """The page of a result, part by part, one layer in memory at a time where it is a Result."""
    result = layers if isinstance(layers, Result) else Result.of(head, layers)
    return _written([replace(result, head=head)], None)


def write_comparison(a: Result, b: Result) -> Iterator[bytes]:
    """The page that sets b beside a."""
    alignment = None if a.head["tokens"] == b.head["tokens"] else align(a.head["tokens"], b.head["tokens"])
    return _written([a, b], alignment)


def empty_page() -> str:
    """The page that holds no result: it asks the service that it comes from."""
    return "".join(_filled("LIG: which tokens feed which?", LIVE))


def page_policy(more: str = "") -> str:
    """A Content-Security-Policy under which the page's own script and style work, nothing else does, and nothing loads
    but what `more` allows."""
    sources = f"script-src {_source(_part('bundle.js'))}; style-src {_source(_part('bundle.css'))}; img-src data: blob:"
    return "; ".join(
        part for part in (f"default-src 'none'; {sources}", more, "base-uri 'none'", "form-action 'none'") if part
    )


def _written(results: Sequence[Result], alignment: Sequence[tuple[int, int]] | None) -> Iterator[bytes]:
    before, after = _filled(" | ".join(_title(result.head) for result in results))
    described, room = [], MOST_BYTES // len(results)
    yield before.encode()
    for number, result in enumerate(results):
        held, verdict = _fitting(result, room), Verdict()
        for layer in result:
            verdict.add(layer)
            for name in layer.maps:
                if layer.index in held[name]:
                    yield _layer_element(number, layer, name)
        described.append(
            {
                "head": dict(result.head),
                "layers": list(result.indices),
                "parts": [name for name in PRECEDENCE if name in held],
                "held": held,
                "verdict": verdict.document(),
            }
        )
    data = to_json({"results": described, "alignment": alignment}).decode().translate(_ESCAPES)
    yield f'<script type="application/json" id="results">{data}</script>'.encode()
    yield after.encode()


def _fitting(result: Result, room: int) -> dict[str, list[int]]:
    """The layers of each map that have room; all layers are as large as the first."""
    if not result.indices:
        return {}
    first = result.load(result.indices[0])
    held: dict[str, list[int]] = {}
    for name in PRECEDENCE:
        if name in first.maps:
            size = len(_only(first, name).to_bytes()) * 4 // 3
            count = min(len(result.indices), room // size)
            held[name] = list(result.indices)[:count]
            room -= count * size
    return held


def _only(layer: LayerArrays, name: MapName) -> LayerArrays:
    kept = {"targets", "visible", NAMES[name]}
    return replace(layer, arrays={key: array for key, array in layer.arrays.items() if key.partition(".")[0] in kept})


def _layer_element(number: int, layer: LayerArrays, name: MapName) -> bytes:
    content = base64.b64encode(_only(layer, name).to_bytes())
    opening = (
        f'<script type="application/octet-stream" data-result="{number}" data-layer="{layer.index}" data-part="{name}">'
    )
    return opening.encode() + content + b"</script>\n"


def _title(head: Head) -> str:
    text = " ".join(str(head.get("text", "")).split())
    if len(text) > TITLE_CHARACTERS:
        text = text[: TITLE_CHARACTERS - 1].rstrip() + "…"
    return f"{text} · {head.get('model', '')} · LIG"


def _filled(title: str, more: str = "") -> tuple[str, str]:
    """The page before its data, and after."""
    values = {
        "title": html.escape(title),
        "policy": page_policy(more),
        "style": _part("bundle.css"),
        "script": _part("bundle.js"),
    }
    # One pass, so that a slot's name inside the text stays text.
    before, after = (_SLOT.sub(lambda slot: values[slot[1]], part) for part in _part("page.html").split("{{data}}"))
    return before, after


@cache
def _part(name: str) -> str:
    return (files("lig_core.result.viewer") / name).read_text(encoding="utf-8")


def script_source(page: str) -> str:
    """The source expression of a policy that allows the one inline script of a page, and no other."""
    (script,) = _SCRIPT.findall(page)
    return _source(script)


@cache
def _source(content: str) -> str:
    """The same of one inline element of this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
