"""Draws the figures of the documents from a computed result: `python -m generate.figures`.

SVG that carries its own background and follows the reader's light or dark scheme. Widths are contributions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lig_core import explain

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
TEXT = "The cat sat on the mat."
LAYER, TARGET = 0, 4
"""Of the figure z → u → z': the layer, and the target token, "on"."""

WIDEST = 20.0
"""Stroke, in pixels, of a contribution as large as the largest total in the picture's column."""
THINNEST = 0.6
"""Contributions below it are left out."""
ACCENTS = {"cat": "cat", "sat": "sat", "mat": "mat"}
"""Sources with a colour of their own."""

PLAIN = '<path class="link" '
"""How links from all other sources begin."""

STYLE = """
  .page { fill: #ffffff; stroke: #d8dee4 }
  text { font: 15px ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #1f2328 }
  .note { font-size: 13px; fill: #59636e }
  .head { font-weight: 600 }
  .link { fill: none; stroke: #8c959f }
  .node { fill: #59636e }
  .cat { stroke: #0969da; fill: #0969da } .sat { stroke: #1a7f37; fill: #1a7f37 }
  .mat { stroke: #bc4c00; fill: #bc4c00 }
  .link.cat, .link.sat, .link.mat { fill: none }
  text.cat, text.sat, text.mat { stroke: none; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d }
    text { fill: #f0f6fc } .note { fill: #9198a1 }
    .link { stroke: #6e7681 } .node { fill: #9198a1 }
    .cat { stroke: #58a6ff; fill: #58a6ff } .sat { stroke: #3fb950; fill: #3fb950 }
    .mat { stroke: #f0883e; fill: #f0883e }
  }
"""


def flow(result: Mapping[str, Any]) -> str:
    """Every layer's map z → z', one after the other: rows are tokens, a link goes from source to target."""
    tokens, layers = result["token_labels"], list(result["layers"].values())
    left, gap, top, row = 92, 120, 74, 40
    columns = [left + gap * place for place in range(len(layers) + 1)]
    rows = [top + row * place for place in range(len(tokens))]
    width, height = columns[-1] + 92, rows[-1] + 88

    links, nodes = [], [_node(columns[0], y, 0.5) for y in rows]
    for place, layer in enumerate(layers):
        matrix, totals = layer["z2z"]["matrix"], layer["z2z"]["certificate"]["total"]
        for source, contributions in enumerate(matrix):
            ends = zip(rows, contributions, strict=True)
            for y, contribution in ends:
                start = (columns[place] + 5, rows[source])
                end = (columns[place + 1] - 5, y)
                links.append(_link(start, end, contribution / max(totals), tokens[source]))
        nodes += [_node(columns[place + 1], y, total / max(totals)) for y, total in zip(rows, totals, strict=True)]

    words = []
    for token, y in zip(tokens, rows, strict=True):
        words += [
            _text(columns[0] - 14, y + 5, token, f"{_accent(token)}", "end"),
            _text(columns[-1] + 16, y + 5, token, f"{_accent(token)}"),
        ]
    heads = [
        _text((a + b) / 2, 40, f"layer {name}", "head", "middle")
        for name, a, b in zip(result["layers"], columns, columns[1:], strict=False)
    ]
    notes = [
        "How much each token of a layer's input contributes to each token of its output, on the right. A dot is as",
        "large as the total that the contributions to it sum to. "
        f"Links below {THINNEST / WIDEST:.0%} of the layer's largest total are left out.",
    ]
    told = [_text(width / 2, rows[-1] + 48 + 20 * line, note, "note", "middle") for line, note in enumerate(notes)]
    label = f"Which tokens feed which in each layer of {result['model']}: {result['text']}"
    return _picture(width, height, label, [*_drawn(links), *nodes, *words, *heads, *told])


def boundaries(result: Mapping[str, Any], layer: int = LAYER, target: int = TARGET) -> str:
    """One target of one layer: from the tokens z through the heads u to z'.

    A head's link to z' is as wide as its contribution; that is shared among the tokens as the head's own map shares its
    output, so that what enters a head leaves it: the conserving sums.
    """
    tokens, maps = result["token_labels"], result["layers"][str(layer)]["targets"][str(target)]
    through = maps["u2z"]["head_contributions"]
    into = [head["contributions"] for head in maps["z2u"]["heads"].values()]
    xs, top, bottom = (110, 440, 770), 92, 480
    sources, heads = _spread(top, bottom, len(tokens)), _spread(top, bottom, len(through))
    middle = (top + bottom) / 2

    scale = max(map(abs, through))
    links = []
    for head, (contribution, y) in enumerate(zip(through, heads, strict=True)):
        links.append(_link((xs[1] + 16, y), (xs[2] - 8, middle), contribution / scale, ""))
        for source, start in enumerate(sources):
            share = into[head][source] / sum(into[head])
            end = (xs[1] - 16, y)
            links.append(_link((xs[0] + 8, start), end, share * contribution / scale, tokens[source]))
    labels = [
        *(_text(xs[0] - 8, y + 5, token, _accent(token), "end") for token, y in zip(tokens, sources, strict=True)),
        *(_text(xs[1], y + 5, f"{head}", "note", "middle") for head, y in enumerate(heads)),
        _node(xs[2], middle, 1.0),
        _text(xs[2] + 16, middle + 5, tokens[target], "head"),
        *(
            _text(x, y, words, style, "middle")
            for x, name, meaning in zip(xs, "zuz", ("block input", "head outputs", "block output"), strict=True)
            for y, words, style in ((40, name + "'" * (x == xs[2]), "head"), (60, meaning, "note"))
        ),
        _text((xs[0] + xs[1]) / 2, 40, "att", "note", "middle"),
        _text((xs[1] + xs[2]) / 2, 40, "mlp", "note", "middle"),
    ]
    label = f"What feeds '{tokens[target]}' in layer {layer} of {result['model']}, from z through the heads to z'"
    note = "A head passes on as much as it contributes; dashed links are negative. The token itself is the baseline."
    labels.append(_text(440, bottom + 46, note, "note", "middle"))
    return _picture(880, bottom + 70, label, [*_drawn(links), *labels])


def computed() -> dict[str, Any]:
    """The result that is drawn: the demo's sentence, all layers; of one layer and target also the way through u."""
    result = explain(TEXT, model="minilm", granularity="layer")
    parts = explain(
        TEXT,
        model="minilm",
        granularity=["att", "mlp"],
        baseline_mlp="att_itb_a0",
        u_node="heads",
        layers=[LAYER],
        target_tokens=[TARGET],
    )
    result["layers"][str(LAYER)]["targets"] = parts["layers"][str(LAYER)]["targets"]
    return result


def figures(result: Mapping[str, Any]) -> dict[str, str]:
    """Each file's name and contents."""
    return {"flow.svg": flow(result), "z-u-z.svg": boundaries(result)}


def _spread(top: float, bottom: float, count: int) -> list[float]:
    return [top + (bottom - top) * place / (count - 1) for place in range(count)]


def _accent(token: str) -> str:
    return ACCENTS.get(token, "")


def _link(start: tuple[float, float], end: tuple[float, float], share: float, source: str) -> tuple[float, str]:
    """A link and its width; dashed where the contribution is negative."""
    (x0, y0), (x1, y1), stroke = start, end, abs(share) * WIDEST
    bend = (x1 - x0) / 2
    path = f"M{x0:.0f} {y0:.0f}C{x0 + bend:.0f} {y0:.0f} {x1 - bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    opacity = min(0.9, 0.25 + abs(share) * 1.6) if _accent(source) else min(0.6, 0.15 + abs(share) * 0.9)
    dash = ' stroke-dasharray="4 3"' if share < 0 else ""
    style = f"link {_accent(source)}".strip()
    return stroke, f'<path class="{style}" d="{path}" stroke-width="{stroke:.1f}" opacity="{opacity:.2f}"{dash}/>'


def _drawn(links: Iterable[tuple[float, str]]) -> Sequence[str]:
    """Those of note; the coloured ones lie above the others."""
    paths = [path for stroke, path in links if stroke >= THINNEST]
    return sorted(paths, key=lambda path: not path.startswith(PLAIN))


def _node(x: float, y: float, share: float) -> str:
    return f'<circle class="node" cx="{x:.0f}" cy="{y:.0f}" r="{1.5 + 4.5 * share**0.5:.1f}"/>'


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def _picture(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
            f"<title>{escape(label)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="10"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, picture in figures(computed()).items():
        (FOLDER / name).write_text(picture, encoding="utf-8")
