"""The edges that the viewer's flow draws are the shares of `lig_core.flow`, and so are the products that hide some."""

import re

import numpy as np
import pytest

from lig_core.flow import Flow
from tests.integration.viewer.drawn_maps import changed, drawn_result

COUNT, LAYERS, TARGET = 5, 3, 3
DIGITS = 0.006  # three are drawn
EDGE = re.compile(r"layer (\d+): “token\d+” (\d+) → “token\d+” (\d+), (\S+) % of the column")


def with_own_terms(*, causal):
    """Own terms as a ratio baseline gives them."""
    result = drawn_result(COUNT, layers=LAYERS, causal=causal, seed=4, baseline_layer="itb_zero_ratio")
    for layer in list(result):
        result = changed(result, layer.index, z2z=layer["z2z"] + np.eye(COUNT, dtype=np.float32))
    return result


def products(result):
    """The strongest product into TARGET by way of each edge. The viewer starts anew at TARGET below every layer."""
    found = {}
    for end in range(LAYERS):
        for start in range(end + 1):
            for path in Flow.of(result, layers=range(start, end + 1)).paths(target=TARGET, top=10**6):
                edge = (start, path.tokens[0], path.tokens[1])
                found[edge] = max(found.get(edge, 0), abs(path.score))
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("path", [0, 20])
def test_the_edges_drawn_are_shares_of_the_flow(open_file, causal, path):
    result = with_own_terms(causal=causal)
    flow = Flow.of(result)
    page = open_file(result, f"pin={TARGET}&k=99&least=0&path={path}")
    page.locator("#flow .edge").first.wait_for(state="attached")
    titles = page.eval_on_selector_all("#flow .edge title", "all => all.map(one => one.textContent)")
    seen = {tuple(map(int, edge[:3])): float(edge[3]) for title in titles for edge in [EDGE.match(title).groups()]}
    strongest = products(result)
    assert set(seen) == {edge for edge, product in strongest.items() if product >= path / 100}
    for (layer, i, j), percent in seen.items():
        assert percent == pytest.approx(100 * flow.layers[layer].shares[i, j], rel=DIGITS)
