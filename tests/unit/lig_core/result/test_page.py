from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lig_core.result.page import TITLE_CHARACTERS, render_page

ATTACK = "</script><script>alert(1)</script><!-- & \u2028 {{policy}} {{data}}"


def result(**changes: Any) -> dict[str, Any]:
    """A small result with every kind of map; target 2 was not asked for, target 1 did not converge."""
    matrix = [[0.0, 1.2345678, None], [2.5, 0.0, None], [-0.5, 0.25, None]]
    certificate = {
        "total": [2.0, 1.4845678, None],
        "completeness_error": [5.2e-4, 2e-2, None],
        "nodes": [7, 60, None],
        "converged": [True, False, None],
        "status": ["ok", "budget", None],
        "all_converged": False,
        "rtol": 1e-3,
        "quadrature": "adaptive_gauss_patterson",
        "engine": "factored/closed",
    }
    l2 = {"distance": [0.5, 0.7, None], "normalised_distance": [0.1, 0.2, None], "pearson": [0.9, None, None]}
    composition = {
        "shape": [3, 3],
        "matrix": matrix,
        "l2_diagnostic": {**l2, "mean_distance": 0.6, "mean_normalised_distance": 0.15, "mean_pearson": 0.9},
    }
    return {
        "text": "cat mats",
        "tokens": ["[CLS]", "cat", "##s"],
        "model": "minilm",
        "model_type": "bert",
        "config": {"num_steps": None, "rtol": 1e-3, "dtype": "float32"},
        "boundaries": {"notes": ["a note"]},
        "layers": {
            "0": {
                "layer_idx": 0,
                "z2z": {
                    "baseline": "self_input_token",
                    "description": "from the block input to the block output",
                    "shape": [3, 3],
                    "matrix": matrix,
                    "certificate": certificate,
                },
                "composed": {
                    "baseline_pair": {"att": "self_input_token", "mlp": "zero", "layer": "self_input_token"},
                    "converged": [True, False, None],
                    "product": composition,
                    "conserving": composition,
                },
                "targets": {str(target): target_maps(target) for target in (0, 1)},
            }
        },
        "converged": False,
        "receipt": {"model": "minilm", "revision": None, "versions": {"torch": "2"}},
        **changes,
    }


def target_maps(target: int) -> dict[str, Any]:
    sound = {"completeness_error": 1e-6, "nodes": 7, "converged": True, "status": "ok"}
    return {
        "target_token_idx": target,
        "z2u": {
            "baseline": "zero",
            "description": "from the block input to each head",
            "engine": "factored/closed",
            "quadrature": "adaptive_gauss_patterson",
            "heads": {
                str(head): {"contributions": [0.5, head, 0.125], "total": 0.625 + head, **sound} for head in (0, 1)
            },
        },
        "u2z": {
            "baseline": "zero",
            "description": "per dimension of u",
            "contributions": [0.5] * 30,
            "total": 15.0,
            **sound,
        },
    }


class _Page(HTMLParser):
    """The page as a browser splits it: its elements, its scripts, the title and the embedded document."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        at = len(self.elements) - 1
        self.texts[at] = self.texts.get(at, "") + data

    def text_of(self, tag: str, **attributes: str) -> str:
        (text,) = [
            self.texts.get(at, "")
            for at, (name, found) in enumerate(self.elements)
            if name == tag and attributes.items() <= found.items()
        ]
        return text

    @property
    def document(self) -> Any:
        return json.loads(self.text_of("script", type="application/json"))


def test_the_embedded_document_equals_the_result():
    assert _Page(render_page(result())).document == result()


def test_no_text_breaks_out_of_the_page():
    hostile = result(text=ATTACK, tokens=[ATTACK, "a", "b"], model=ATTACK)
    page = _Page(render_page(hostile))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert page.document == hostile
    assert "<script>alert(1)" in page.text_of("title")


def test_the_embedded_document_holds_no_character_that_html_or_javascript_reads():
    page = render_page(result(text=ATTACK))
    embedded = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert not set("<>&\u2028\u2029") & set(embedded[1])


def test_the_page_refers_to_nothing_outside_itself():
    page = render_page(result())
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.[\w./-]+", page)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}  # the name of a namespace; nothing loads it
    loads = [attributes for _, attributes in _Page(page).elements if {"src", "href"} & attributes.keys()]
    assert [attributes["href"][:5] for attributes in loads] == ["data:"]  # the icon
    assert "url(" not in page.replace("url(#hatch)", "")
    assert "@import" not in page


def test_the_policy_allows_the_pages_own_script_and_nothing_from_outside():
    (policy,) = [
        attributes["content"]
        for tag, attributes in _Page(render_page(result())).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)


def test_nan_and_arrays_become_null_and_numbers():
    numbers = np.array([[1.5, math.nan]], np.float32)
    assert _Page(render_page(result(extra=numbers, converged=math.nan))).document["extra"] == [[1.5, None]]


def test_a_result_without_maps_still_is_a_page():
    page = _Page(render_page({"text": "a", "tokens": ["a"], "model": "m", "layers": {}}))
    assert page.document["layers"] == {}


def test_the_title_names_text_and_model_and_stays_short():
    assert _Page(render_page(result())).text_of("title").startswith("cat mats · minilm")
    long = _Page(render_page(result(text="word " * 100))).text_of("title")
    assert long.split(" · ")[0].endswith("…")
    assert len(long.split(" · ")[0]) <= TITLE_CHARACTERS


@pytest.fixture
def show(new_context, tmp_path: Path):
    """Opens a result's page; afterwards nothing may have been loaded, logged or raised."""
    context = new_context(viewport={"width": 1200, "height": 900})
    trouble: list[str] = []

    def open_page(document: dict[str, Any], view: str = ""):
        file = tmp_path / "page.html"
        file.write_text(render_page(document), encoding="utf-8")
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: trouble.append(request.url))
        page.goto(file.as_uri() + view)
        return page

    yield open_page
    context.close()
    assert [entry for entry in trouble if not entry.startswith(("file:", "data:"))] == []


class TestInABrowser:
    @staticmethod
    def hover(page: Any, source: int, target: int, rows: int = 3, columns: int = 3) -> None:
        box = page.locator("#map").bounding_box()
        page.mouse.move(
            box["x"] + (target + 0.5) * box["width"] / columns, box["y"] + (source + 0.5) * box["height"] / rows
        )

    def test_hovering_shows_the_exact_value_and_its_share(self, show):
        page = show(result())
        self.hover(page, 0, 1)
        readout = page.inner_text("#readout")
        assert "“[CLS]” 0 → “cat” 1" in readout
        assert "1.23457" in readout
        assert "83.16 % of the column's total 1.48457" in readout
        assert "not converged" in readout
        self.hover(page, 0, 2)
        assert "not asked for" in page.inner_text("#readout")

    def test_the_keyboard_reads_and_pins_cells(self, show):
        page = show(result())
        page.focus("#map")
        page.keyboard.press("ArrowDown")
        assert "2.50000" in page.inner_text("#readout")
        page.keyboard.press("Enter")
        assert page.inner_text("#pin-title") == "Strongest sources into “[CLS]” 0"
        assert [line.split("\n")[-2] for line in page.locator("#bars li").all_inner_texts()] == [
            "2.50000",
            "-0.500000",
            "0",
        ]
        assert "pin=0" in page.url
        page.keyboard.press("Escape")
        assert page.locator("#bars").is_hidden()

    def test_the_certificate_says_what_did_not_converge(self, show):
        page = show(result())
        assert page.inner_text("#summary") == (
            "not converged: 1 of 2 targets; worst completeness error 2.0e-2; rtol 1e-3; 7–60 nodes"
        )
        lines = page.locator("#certificate tbody tr").all_inner_texts()
        assert len(lines) == 2
        assert "▲ budget" in lines[1]

    @pytest.mark.parametrize(
        ("view", "expected"),
        [
            ("#map=product", "mean Pearson 0.900"),
            ("#map=conserving&values=share", "mean distance from the layer map 0.600"),
            ("#map=att", "converged: all 2 targets asked for"),
            ("#map=att&head=1", "worst completeness error 1.0e-6"),
            ("#map=mlp", "7 nodes"),
            ("#map=nonsense&layer=99&head=x&pin=77&range=y", "not converged"),
        ],
    )
    def test_every_map_can_be_shown(self, show, view, expected):
        assert expected in show(result(), view).inner_text("#summary")

    def test_heads_add_up(self, show):
        page = show(result(), "#map=att")
        assert page.input_value("#head") == "sum"
        self.hover(page, 0, 0)
        assert "1.00000" in page.inner_text("#readout")
        assert "44.44 % of the column's total 2.25000" in page.inner_text("#readout")

    def test_hostile_text_stays_text(self, show):
        page = show(result(text=ATTACK, tokens=[ATTACK, "cat", "##s"], model=ATTACK))
        assert "<script>alert(1)</script>" in page.inner_text("#text")
        assert "<script>alert(1)</script>" in page.locator("#sources .token").first.inner_text()

    def test_byte_level_pieces_are_decoded(self, show):
        page = show(result(tokens=["<s>", "ĠcafÃ©", "Ċ"]))
        assert page.locator("#sources .token").all_inner_texts() == ["<s>", "·café", "↵"]

    def test_a_result_without_maps_says_so(self, show):
        page = show({"text": "a", "tokens": ["a"], "model": "m", "layers": {}})
        assert "holds no maps" in page.inner_text("#verdict")
        assert page.locator("#main").is_hidden()
