"""The page of a result, as bytes; tests/integration/viewer has it in a browser."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from lig_core.result.arrays import LayerArrays
from lig_core.result.read import from_document
from lig_core.result.viewer import page as page_module
from lig_core.result.viewer.page import TITLE_CHARACTERS, render_page, write_comparison, write_page
from lig_core.result.viewer.show import Explanation, show
from tests.support.made_results import made_result

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
            "completeness": {"error": 0.0},
            **sound,
        },
    }


class _Page(HTMLParser):
    """The page as a browser splits it: its elements, its scripts, the title and what it holds."""

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

    def texts_of(self, tag: str, **attributes: str) -> list[str]:
        return [
            self.texts.get(at, "")
            for at, (name, found) in enumerate(self.elements)
            if name == tag and attributes.items() <= found.items()
        ]

    @property
    def described(self) -> Any:
        (text,) = self.texts_of("script", type="application/json")
        return json.loads(text)

    def layer(self, layer: int, part: str) -> LayerArrays:
        (text,) = self.texts_of("script", **{"data-layer": str(layer), "data-part": part})
        return LayerArrays.from_bytes(base64.b64decode(text))


def test_the_page_holds_every_map_to_the_last_digit():
    page = _Page(render_page(result()))
    (described,) = page.described["results"]
    assert described["head"]["tokens"] == ["[CLS]", "cat", "##s"]
    assert described["parts"] == ["layer", "composed", "att", "mlp"]
    assert described["verdict"]["converged"] is False
    _, layers = from_document(result())
    (layer,) = layers
    held = {name: array for part in described["parts"] for name, array in page.layer(0, part).arrays.items()}
    assert held.keys() == layer.arrays.keys()
    for name, array in layer.arrays.items():
        np.testing.assert_array_equal(held[name], array, err_msg=name)


def test_no_text_breaks_out_of_the_page():
    page = _Page(render_page(result(text=ATTACK, tokens=[ATTACK, "a", "b"], model=ATTACK)))
    assert len(page.texts_of("script", type="application/json")) == 1
    assert [tag for tag, attributes in page.elements if tag == "script" and not attributes] == ["script"]
    assert page.described["results"][0]["head"]["model"] == ATTACK
    assert "<script>alert(1)" in page.texts_of("title")[0]


def test_the_embedded_document_holds_no_character_that_html_or_javascript_reads():
    page = render_page(result(text=ATTACK))
    embedded = re.search(r'<script type="application/json" id="results">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert not set("<>&\u2028\u2029") & set(embedded[1])


def test_the_page_refers_to_nothing_outside_itself():
    page = render_page(result())
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]+/[\w./-]+", page)
    assert all(address.startswith("http://www.w3.org/") for address in addresses)  # names of namespaces; nothing loads
    loads = [attributes for _, attributes in _Page(page).elements if {"src", "href"} & attributes.keys()]
    assert [attributes["href"][:5] for attributes in loads] == ["data:"]  # the icon
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_from_outside():
    (policy,) = [
        attributes["content"]
        for tag, attributes in _Page(render_page(result())).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)
    assert re.search(r"style-src 'sha256-[\w+/]{43}='", policy)
    assert "unsafe" not in policy


def test_no_element_handles_events_inline():
    assert not [a for _, attributes in _Page(render_page(result())).elements for a in attributes if a.startswith("on")]


def test_what_would_make_the_file_too_large_is_left_out_the_layer_maps_last(monkeypatch):
    made = made_result(indices=(0, 1, 2))
    layer = len(page_module._only(made.load(0), "layer").to_bytes()) * 4 // 3
    monkeypatch.setattr(page_module, "MOST_BYTES", 2 * layer)
    page = _Page(b"".join(write_page(made.head, made)).decode())
    assert page.described["results"][0]["held"] == {"layer": [0, 1], "composed": [], "att": [], "mlp": []}
    monkeypatch.setattr(page_module, "MOST_BYTES", 20_000_000)
    page = _Page(b"".join(write_page(made.head, made)).decode())
    assert page.described["results"][0]["held"] == {name: [0, 1, 2] for name in ("layer", "composed", "att", "mlp")}


def test_two_results_stand_in_one_page_with_their_alignment():
    a = made_result(indices=(0,))
    b = replace(a, head={**a.head, "tokens": ["[CLS]", "dog", "##s", "sat", "[SEP]"]})
    page = _Page(b"".join(write_comparison(a, b)).decode())
    assert len(page.described["results"]) == 2
    assert page.described["alignment"] == [[0, 0], [2, 2], [3, 3], [4, 4]]
    assert {attributes.get("data-result") for tag, attributes in page.elements if tag == "script"} >= {"0", "1"}


def test_a_result_without_maps_still_is_a_page():
    page = _Page(render_page({"text": "a", "tokens": ["a"], "model": "m", "layers": {}}))
    assert page.described["results"][0]["layers"] == []


def test_the_title_names_text_and_model_and_stays_short():
    (title,) = _Page(render_page(result())).texts_of("title")
    assert title.startswith("cat mats · minilm")
    (long,) = _Page(render_page(result(text="word " * 100))).texts_of("title")
    assert long.split(" · ")[0].endswith("…")
    assert len(long.split(" · ")[0]) <= TITLE_CHARACTERS


def test_a_notebook_shows_it_in_a_frame_that_reaches_nothing():
    shown = show(result(text=ATTACK))._repr_html_()
    (frame,) = [attributes for tag, attributes in _Page(shown).elements if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert frame["srcdoc"] == render_page(result(text=ATTACK))
    assert Explanation(result())._repr_html_() == show(result())._repr_html_()
    assert json.loads(json.dumps(Explanation(result()))) == json.loads(json.dumps(result()))
