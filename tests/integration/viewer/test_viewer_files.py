"""A result's file in a browser, offline: every cell, every way to read it, what it says of certificates and zeros."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from lig_core.result.plain.text import plain
from lig_core.result.render import document
from lig_core.result.viewer.page import write_comparison
from lig_core.result.viewer.show import show
from tests import programs
from tests.integration.viewer.drawn_maps import (
    NAN,
    changed,
    drawn_colours,
    drawn_result,
    expected_colours,
    theme,
)
from tests.support.made_results import made_result

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e"
MOST_NODES = 5000


def hover(page, i, j):
    box, cells = page.locator("#map").bounding_box(), page.locator("#cells")
    left, top, cell = (float(cells.get_attribute(f"data-{name}")) for name in ("left", "top", "cell"))
    page.mouse.move(box["x"] + left + (j + 0.5) * cell, box["y"] + top + (i + 0.5) * cell)


def click(page, i, j, **options):
    hover(page, i, j)
    for key in options.get("keys", ()):
        page.keyboard.down(key)
    page.mouse.down()
    page.mouse.up()
    for key in options.get("keys", ()):
        page.keyboard.up(key)


@pytest.mark.parametrize("count", [6, 41, 200, 360, 512])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_cell_is_drawn_in_its_colour(open_file, count, scheme):
    result = drawn_result(count, layers=1)
    size = {"width": 1920, "height": 1080}
    page = open_file(result, "scale=100", color_scheme=scheme, viewport=size)
    page.locator("#cells[data-end]").wait_for(state="attached")
    values, drawn = result.load(0)["z2z"], drawn_colours(page, count, count)
    assert (drawn[..., 3] == 255).all()
    end = float(page.get_attribute("#cells", "data-end"))
    assert end == pytest.approx(np.abs(values).max(), rel=1e-6)
    np.testing.assert_allclose(drawn[..., :3], expected_colours(values, end, theme(page)), atol=2)
    assert page.evaluate("document.getElementsByTagName('*').length") < MOST_NODES


@pytest.mark.parametrize(
    "options",
    [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}, {"forced_colors": "active", "color_scheme": "dark"}],
)
def test_nothing_covers_what_is_drawn(open_file, options):
    page = open_file(drawn_result(12), "pin=2", **options)
    page.locator("#cells[data-end]").wait_for(state="attached")
    for part, most_plain in {"#map": 0.5, ".strip button canvas": 0.5, "#flow": 0.99}.items():
        picture = Image.open(io.BytesIO(page.locator(part).first.screenshot())).convert("RGB")
        commonest = max(count for count, _ in picture.getcolors(1 << 24))
        assert commonest < most_plain * picture.width * picture.height


def test_of_many_layers_every_one_is_there_and_few_nodes(open_file):
    page = open_file(drawn_result(512, layers=3), "pin=200&least=0&k=8&path=0")
    page.locator("#flow .edge").first.wait_for(state="attached")
    expect(page.locator(".strip canvas")).to_have_count(3)
    assert page.evaluate("document.getElementsByTagName('*').length") < MOST_NODES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_masked_cells_own_terms_and_what_was_not_asked_for_are_told_apart(open_file, scheme):
    result = drawn_result(8, layers=1, causal=True)
    result = changed(result, 0, **{"z2z.status": np.array([1, *[0] * 7], np.uint8)})
    page = open_file(result, color_scheme=scheme)
    page.locator("#cells[data-end]").wait_for(state="attached")
    drawn, colours = drawn_colours(page, 8, 8), theme(page)
    below = np.tril_indices(8, -1)
    np.testing.assert_allclose(drawn[below][:, :3], np.broadcast_to(colours["masked"], (28, 3)), atol=2)
    assert np.abs(colours["masked"] - colours["zero"]).max() > 10
    for said in ("masked", "0 by definition"):
        expect(page.locator(".legend")).to_contain_text(said)
    hover(page, 5, 2)
    expect(page.locator("#readout")).to_contain_text("masked")
    hover(page, 3, 3)
    expect(page.locator("#readout")).to_contain_text("0 by definition")


def test_targets_that_were_not_asked_for_are_no_values(open_file):
    result = drawn_result(6, layers=1)
    layer = result.load(0).take("target", [1, 4])
    page = open_file(type(result).of(result.head, [layer]))
    page.locator("#cells[data-end]").wait_for(state="attached")
    drawn = drawn_colours(page, 6, 6)
    assert [bool(alpha) for alpha in drawn[0, :, 3]] == [False, True, False, False, True, False]
    hover(page, 0, 0)
    expect(page.locator("#readout")).to_contain_text("not asked for")


def test_a_column_that_is_not_known_has_no_values_and_says_so(open_file):
    values = np.random.default_rng(2).normal(size=(6, 6)).astype(np.float32)
    unknown = np.where(np.arange(6) == 3, np.nan, values)
    composed = {"composed.product": values, "composed.conserving": unknown, "composed.converged": np.ones(6, bool)}
    distances = {
        f"composed.{kind}.{part}": np.where(np.isnan(matrix).any(0), np.nan, 0.5)
        for kind, matrix in (("product", values), ("conserving", unknown))
        for part in ("distance", "normalised_distance", "pearson")
    }
    page = open_file(changed(drawn_result(6, layers=1), 0, **composed, **distances), "map=conserving&pin=3")
    page.locator("#cells[data-end]").wait_for(state="attached")
    assert [bool(alpha) for alpha in drawn_colours(page, 6, 6)[0, :, 3]] == [True, True, True, False, True, True]
    expect(page.locator("#unknown")).to_have_text("1 column not known: 3")
    expect(page.locator(".legend")).to_contain_text("not known")
    expect(page.locator(".legend")).not_to_contain_text("not asked for")
    expect(page.locator(".inspector .first")).to_contain_text("not known")
    hover(page, 0, 3)
    expect(page.locator("#readout")).to_contain_text("not known")
    expect(page.locator("#summary")).to_contain_text("all 6 targets converged")


def test_the_exact_value_its_share_and_the_certificate_are_read_out(open_file):
    result = drawn_result(6, layers=1)
    result = changed(result, 0, **{"z2z.converged": np.array([1, 1, 0, 1, 1, 1], bool)})
    page = open_file(result)
    hover(page, 1, 2)
    value = float(result.load(0)["z2z"][1, 2])
    expect(page.locator("#readout")).to_contain_text(f"{value:.6g}".rstrip("0"))
    expect(page.locator("#readout")).to_contain_text("▲ not converged")
    expect(page.locator("#summary")).to_contain_text("▲ 1 of 6 targets not converged: 2")
    click(page, 1, 2)
    for said in ("Into “token2” 2", "error 1.0e-5", "entries ≈ 1.0e-4"):
        expect(page.locator(".inspector .first")).to_contain_text(said)
    expect(page.locator("#flow .edge.unconverged").first).to_be_attached()
    expect(page).to_have_url(re.compile("pin=2"))


RECORD = """() => {
  window.written = [];
  const write = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    window.written.push(text);
    write.call(this, text, ...place);
  };
}"""


@pytest.mark.parametrize("width", [1280, 700])
@pytest.mark.parametrize("name", ["a", "the", "tokens"])
def test_names_of_columns_that_have_not_converged_stay_whole(open_file, name, width):
    result = drawn_result(12, layers=1, tokens=[name] * 12)
    page = open_file(changed(result, 0, **{"z2z.converged": np.arange(12) != 3}))
    page.locator("#cells[data-end]").wait_for(state="attached")
    page.evaluate(RECORD)
    page.set_viewport_size({"width": width, "height": 801})
    page.wait_for_function("window.written.length >= 24")
    assert set(page.evaluate("window.written")) == {name, f"▲ {name}"}


def test_the_flow_is_made_of_the_largest_shares_of_each_layer(open_file):
    result = drawn_result(6, layers=2)
    page = open_file(result, "pin=3&k=1&least=0&path=0")
    top, bottom = result.load(1)["z2z"], result.load(0)["z2z"]
    first = int(np.abs(top[:, 3]).argmax())
    titles = page.locator("#flow .edge title").all_text_contents()
    assert any(t.startswith(f"layer 1: “token{first}” {first} → “token3” 3") for t in titles)
    for target in (first, 3):
        source = int(np.abs(bottom[:, target]).argmax())
        assert any(t.startswith(f"layer 0: “token{source}” {source} → “token{target}” {target}") for t in titles)
    expect(page.locator("#flow .stem")).to_have_count(2)  # own terms have no value in these maps
    page.keyboard.press("t")
    expect(page.locator("#flow-title")).to_contain_text("Flow from")
    target = int(np.abs(bottom[3]).argmax())
    said = f"layer 0: “token3” 3 → “token{target}” {target}"
    assert any(t.startswith(said) for t in page.locator("#flow .edge title").all_text_contents())
    expect(page.locator(".controls")).to_contain_text("no certificate")


def test_a_second_token_is_pinned_beside_the_first(open_file):
    page = open_file(drawn_result(6))
    click(page, 1, 2)
    click(page, 1, 4, keys=["Shift"])
    expect(page.locator(".inspector .second h2")).to_contain_text("Into “token4”")
    expect(page.locator("#flow g.second .edge").first).to_be_attached()
    expect(page).to_have_url(re.compile("pin=2"))
    expect(page).to_have_url(re.compile("second=4"))
    page.keyboard.press("Escape")
    expect(page.locator(".inspector .first")).to_have_count(0)


def test_layers_heads_maps_and_scale_are_chosen(open_file):
    page = open_file(drawn_result(6, layers=3, heads=2))
    expect(page.locator("#map-title")).to_contain_text("Layer 2")
    page.locator(".strip button").last.click()
    expect(page.locator("#map-title")).to_contain_text("Layer 0")
    page.select_option("#map-name", "att")
    expect(page.locator("#map-title")).to_contain_text("all heads summed")
    page.check("[name=view][value=heads]")
    page.locator(".grid button").nth(1).click()
    expect(page.locator("#map-title")).to_contain_text("head 1")
    page.select_option("#scale", "100")
    expect(page).to_have_url(re.compile("scale=100"))
    for _ in range(2):
        page.go_back()
    page.wait_for_function("document.getElementById('map-title').textContent.includes('summed')")


def test_every_head_names_its_largest_source_or_its_value_from_a_second_token(open_file):
    result = drawn_result(6, heads=2)
    heads = list(result)[1].arrays["att"][:, :, 2]
    heads[:, 2] = 0  # by definition: no source
    page = open_file(result, "pin=2&view=heads")
    largest = np.abs(heads).argmax(axis=1)
    expect(page.locator(".grid button small")).to_have_count(2)
    for head, said in enumerate(page.locator(".grid button small").all_inner_texts()):
        assert result.head["tokens"][largest[head]] in said
        assert float(said.split()[-1]) == pytest.approx(float(heads[head, largest[head]]), rel=1e-2)
    page.locator(".sentence button").nth(4).click(modifiers=["Shift"])
    page.get_by_text("the value from").wait_for()
    for head, said in enumerate(page.locator(".grid button small").all_inner_texts()):
        assert float(said.split()[-1]) == pytest.approx(float(heads[head, 4]), rel=1e-2)


@pytest.mark.parametrize("name", ["layer", "product", "conserving", "att", "mlp"])
def test_every_map_of_a_result_is_shown(open_file, name):
    page = open_file(made_result(), f"map={name}")
    page.locator("#cells").wait_for(state="attached")
    expect(page.locator("#map-name")).to_have_value(name)
    expect(page.locator("#summary")).not_to_be_empty()


@pytest.mark.parametrize(
    "view", ["layer=99&pin=77&map=x&head=9&view=?", "pin=NaN&k=-1&scale=0", "b=nobody&view=compare"]
)
def test_a_link_that_makes_no_sense_still_shows_something(open_file, view):
    page = open_file(drawn_result(6), view)
    page.locator("#map-title").wait_for()


def test_a_reload_shows_the_same(open_file):
    page = open_file(drawn_result(6), "pin=2&second=4&layer=0&forward=1&special=1&share=1&k=3")
    page.locator("#flow").wait_for()
    flow, shown, url = page.inner_text("#flow-title"), page.inner_text("#map-title"), page.url
    page.reload()
    expect(page.locator("#flow-title")).to_have_text(flow)
    expect(page.locator("#map-title")).to_have_text(shown)
    expect(page).to_have_url(url)
    expect(page.locator("#special")).to_be_checked()
    expect(page.locator("#share")).to_be_checked()


def saved(page, panel, name):
    with page.expect_download() as download:
        page.locator(f"[aria-label='Save the {panel}'] button", has_text=name).click()
    return download.value


def test_what_is_saved_holds_what_is_drawn(open_file):
    result = drawn_result(6, tokens=["a", 'say "x"', "<b>", "d,e", "f", "g"])
    page = open_file(result, "pin=2&layer=1")
    values = result.load(1)["z2z"]
    rows = list(csv.DictReader(io.StringIO(saved(page, "map", "CSV").path().read_text())))
    assert len(rows) == 36
    for row in rows:
        i, j = int(row["source"]), int(row["target"])
        assert np.float32(row["value"]) == values[i, j]
        assert float(row["share"]) == pytest.approx(float(values[i, j]) / 2)
        assert row["source_token"] == result.head["tokens"][i]
    document = json.loads(saved(page, "map", "JSON").path().read_text())
    assert np.array_equal(np.array(document["matrix"], np.float32), values)
    assert (document["layer"], document["map"], document["tokens"]) == (1, "layer", result.head["tokens"])
    assert document["certificate"]["total"] == [2.0] * 6
    for panel in ("flow", "map"):
        svg = saved(page, panel, "SVG").path().read_text()
        assert svg.startswith("<svg")
        assert "&lt;b&gt;" in svg or "&#60;b&#62;" in svg
        assert "<script" not in svg
        assert saved(page, panel, "PNG").path().read_bytes().startswith(b"\x89PNG")


def test_hostile_tokens_stay_text(open_file):
    tokens = [HOSTILE, "ok", "\n", " ", "x" * 300, "[CLS]"]
    page = open_file(drawn_result(6, tokens=tokens), "pin=0&second=4&view=flow")
    expect(page.locator(".sentence")).to_contain_text(HOSTILE)
    expect(page.locator("img")).to_have_count(0)
    expect(page.locator(".sentence")).to_contain_text("↵")
    expect(page.locator(".sentence .special")).to_have_count(1)
    saved(page, "flow", "SVG")
    saved(page, "map", "SVG")


def test_the_keyboard_alone_reads_a_map(open_file):
    result = drawn_result(6, layers=3, heads=2)
    page = open_file(result)
    page.keyboard.press("PageDown")
    expect(page.locator("#map-title")).to_contain_text("Layer 1")
    page.keyboard.press("PageUp")
    page.keyboard.press("]")
    expect(page.locator("#map-title")).to_contain_text("all heads summed")
    page.keyboard.press("]")
    expect(page.locator("#map-title")).to_contain_text("head 0")
    page.keyboard.press("[")
    page.keyboard.press("s")
    expect(page.locator("#special")).to_be_checked()
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "map":
            break
    expect(page.locator("#map")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#readout")).to_contain_text("“token1” 1 → “token1” 1")
    page.keyboard.press("Enter")
    expect(page.locator(".inspector .first")).to_contain_text("Into “token1”")
    page.keyboard.press("+")
    page.keyboard.press("f")


def test_two_texts_are_compared_by_the_tokens_that_are_the_same(new_context, tmp_path):
    a = drawn_result(4, tokens=["the", "trophy", "is", "large"])
    b = drawn_result(3, tokens=["the", "is", "small"], seed=1)
    file = tmp_path / "two.html"
    file.write_bytes(b"".join(write_comparison(a, b)))
    page = new_context(viewport={"width": 1366, "height": 768}).new_page()
    page.goto(f"{file.as_uri()}#layer=1&scale=100")
    page.locator(".texts").wait_for()
    expect(page.locator(".texts mark")).to_have_text(["trophy", "large", "small"])
    with page.expect_download() as download:
        page.locator("[aria-label='Save the map'] button", has_text="JSON").click()
    matrix = json.loads(download.value.path().read_text())["matrix"]
    x, y = a.load(1)["z2z"].astype(float), b.load(1)["z2z"].astype(float)
    expected = np.full((4, 4), NAN)
    expected[np.ix_([0, 2], [0, 2])] = y[:2, :2] - x[np.ix_([0, 2], [0, 2])]
    np.testing.assert_allclose(np.array(matrix, float), expected)
    page.locator(".compare .segments label", has_text=re.compile("^b$")).click()
    expect(page.locator("#map-title")).to_have_text(re.compile("^b · "))


def test_a_notebooks_frame_shows_a_map(new_context, tmp_path):
    result = drawn_result(12)
    file = tmp_path / "notebook.html"
    html = show(plain(document({**result.head}, list(result))), height=500)._repr_html_()
    file.write_text(f'<meta charset="utf-8"><div style="width:700px">{html}</div>')
    page = new_context(viewport={"width": 800, "height": 600}).new_page()
    page.goto(file.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("#cells[data-end]").wait_for(state="attached")
    box = frame.locator("#map").bounding_box()
    assert box["width"] > 200
    visible = 500 - (box["y"] - page.locator("iframe").bounding_box()["y"])
    assert visible > 150
    frame.locator(".sentence button").nth(3).click()
    expect(frame.locator(".inspector .first")).to_contain_text("Into “token3”")


@pytest.mark.parametrize("width", [360, 700, 1366, 3840])
def test_nothing_is_wider_than_the_window(open_file, width):
    page = open_file(drawn_result(41, heads=2), "pin=2&view=heads", viewport={"width": width, "height": 800})
    page.locator("#map").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    "options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}], ids=str
)
@pytest.mark.parametrize("view", ["pin=2&second=4", "view=heads&map=att", "view=compare&b=product&side=d"])
def test_axe_finds_nothing(open_file, options, view):
    axe = programs.require_packages() / "axe-core/axe.min.js"
    page = open_file(made_result(), view, **options)
    page.locator("#map").wait_for()
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert [f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}" for each in found] == []
