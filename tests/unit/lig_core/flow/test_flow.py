"""Flow: shares are those of the columns, chains multiply, the fast search finds what trying every path finds."""

import io
import itertools
import json

import networkx
import numpy as np
import pytest
from typer.testing import CliRunner

from lig_core import cli
from lig_core.errors import InvalidRequest
from lig_core.flow import Flow, concentration, graph, strong_paths
from lig_core.flow.graph import write_graph
from lig_core.flow.strongest import strongest
from lig_core.result.arrays import STATUSES, LayerArrays, Result
from lig_core.result.formats import write_npz
from tests.support.made_results import made_head

RANDOM = 1e-12


def made(count=4, *, layers=3, seed=0, heads=2, baseline="itb_zero_ratio", **changes) -> Result:
    """Random maps whose columns sum to their totals; compositions made of their halves."""
    random, held = np.random.default_rng(seed), []
    for index in range(layers):
        z2z = random.normal(size=(count, count)) + 0.5
        att, per_head = random.normal(size=(heads, count, count)), random.normal(size=(heads, count))
        passed = att.sum(1)
        arrays = {
            "targets": np.arange(count),
            "z2z": z2z,
            "z2z.total": z2z.sum(0),
            "z2z.converged": np.arange(count) != 1,
            "z2z.status": np.where(np.arange(count) != 1, 0, 4).astype(np.uint8),
            "att": att,
            "att.heads": np.arange(heads),
            "att.total": att.sum(1),
            "att.entry_error": np.zeros((heads, count)),
            "att.converged": np.ones((heads, count), bool),
            "att.status": np.zeros((heads, count), np.uint8),
            "mlp": per_head,
            "mlp.per_head": per_head,
            "mlp.total": per_head.sum(0),
            "mlp.converged": np.ones(count, bool),
            "composed.product": np.einsum("hij,hj->ij", att, per_head),
            "composed.conserving": np.einsum("hij,hj->ij", att / passed[:, None], per_head),
            "composed.converged": np.ones(count, bool),
        }
        held.append(LayerArrays(index, arrays | changes, "made", {"z2z": "made", "att": "made"}))
    return Result.of(made_head(tokens=count, baseline_layer=baseline, baseline_att=baseline, dtype="float64"), held)


def every_path(shares, source=None, target=None):
    """All trails by their product, largest |product| first."""
    count, ways = shares[0].shape[-1], len(shares[0])
    found = []
    for tokens in itertools.product(range(count), repeat=len(shares) + 1):
        if source not in (None, tokens[0]) or target not in (None, tokens[-1]):
            continue
        for chosen in itertools.product(range(ways), repeat=len(shares)):
            score = 1.0
            for layer, way in enumerate(chosen):
                score *= float(shares[layer][way, tokens[layer], tokens[layer + 1]])
            found.append((score, tokens, chosen))
    return sorted(found, key=lambda one: -abs(one[0]))


@pytest.mark.parametrize("ends", [{}, {"source": 1}, {"target": 2}, {"source": 3, "target": 0}])
@pytest.mark.parametrize(("count", "layers", "ways"), [(2, 1, 1), (4, 3, 1), (3, 3, 2), (5, 2, 3)])
@pytest.mark.parametrize("top", [1, 7, 1000])
def test_the_fast_search_finds_what_trying_every_path_finds(ends, count, layers, ways, top):
    random = np.random.default_rng([count, layers, ways])
    shares = [random.normal(size=(ways, count, count)) for _ in range(layers)]
    ends = {name: token % count for name, token in ends.items()}
    expected = every_path(shares, **ends)[:top]
    found = strongest(shares, top=top, **ends)
    assert [(one.score, one.tokens, one.ways) for one in found] == expected


def test_paths_of_nothing_are_none():
    shares = np.zeros((1, 3, 3))
    shares[0, 0, 1] = 0.5
    assert [(one.tokens, one.score) for one in strongest([shares], top=9)] == [((0, 1), 0.5)]


@pytest.mark.parametrize("map", ["layer", "product", "conserving"])
def test_shares_are_of_the_columns_and_sum_to_one(map):
    result = made()
    for normalised_by in ("total", "absolute"):
        flow = Flow.of(result, map, normalised_by=normalised_by)
        for one, layer in zip(flow.layers, result, strict=True):
            np.testing.assert_allclose(one.shares.sum(0), 1, rtol=RANDOM)
            values = layer["z2z" if map == "layer" else f"composed.{map}"]
            columns = np.abs(values) if normalised_by == "absolute" else values
            np.testing.assert_allclose(one.shares, columns / columns.sum(0), rtol=RANDOM)
    assert (flow.layers[0].shares >= 0).all()


def test_a_flow_through_one_layer_is_the_map_itself():
    flow = Flow.of(made(layers=1, baseline="self_input_token"))
    np.testing.assert_array_equal(flow.rollout()[0], flow.layers[0].shares)
    paths = flow.paths(target=2, top=99)
    assert {path.tokens[0]: path.score for path in paths} == dict(enumerate(flow.layers[0].shares[:, 2].tolist()))


def test_rollout_sums_the_products_over_all_paths():
    flow = Flow.of(made())
    rolled = flow.rollout()[-1]
    np.testing.assert_allclose(rolled.sum(0), 1, rtol=1e-9)
    for i, j in itertools.product(range(4), repeat=2):
        assert sum(path.score for path in flow.paths(source=i, target=j, top=1000)) == pytest.approx(rolled[i, j])


def test_the_score_of_a_path_is_the_product_of_its_steps():
    for path in Flow.of(made()).paths(top=20):
        product = 1.0
        for step in path.steps:
            product *= step.share
        assert path.score == product
        assert [step.certified for step in path.steps] == [step.target != 1 for step in path.steps]
        assert {step.status for step in path.steps if not step.certified} <= {"budget"}


def test_what_a_token_keeps_of_itself_is_said_and_needed():
    bare = Flow.of(made(baseline="self_input_token"))
    assert "0 by definition" in bare.own_share
    with pytest.raises(InvalidRequest, match="itb_zero_ratio"):
        bare.rollout()
    half = Flow.of(made(baseline="self_input_token"), self_term="half")
    np.testing.assert_allclose(half.rollout()[0], (bare.layers[0].shares + np.eye(4)) / 2, rtol=RANDOM)
    assert "half" in half.own_share


def test_where_nothing_moves_the_token_is_all_there_is():
    still = np.random.default_rng(1).normal(size=(4, 4))
    still[:, 0] = 0
    changes = {"z2z": still, "z2z.total": still.sum(0)}
    assert Flow.of(made(**changes)).layers[0].shares[:, 0].tolist() == [1, 0, 0, 0]
    assert Flow.of(made(baseline="self_input_token", **changes)).layers[0].shares[:, 0].tolist() == [0, 0, 0, 0]


def test_what_cannot_be_chained_is_refused():
    result = made()
    gap = Result.of(result.head, [result.load(0), result.load(2)])
    with pytest.raises(InvalidRequest, match="follow on"):
        Flow.of(gap)
    some = Result.of(result.head, [result.load(0).take("target", [1, 2])])
    with pytest.raises(InvalidRequest, match="target_tokens"):
        Flow.of(some)
    with pytest.raises(InvalidRequest, match="tokens 0 to 3"):
        Flow.of(result).paths(target=9)
    with pytest.raises(InvalidRequest, match="layer 7"):
        Flow.of(result, layers=[7])
    with pytest.raises(InvalidRequest, match="follow on"):
        strong_paths(gap)


def test_strong_paths_are_the_authors_steps_and_sum_to_the_conserving_composition():
    result = made(3, layers=2)
    found = strong_paths(result, top=10_000)
    heads = [layer["att"] / layer["att"].sum(1)[:, None] for layer in result]
    passed = [layer["mlp.per_head"] / layer["mlp.total"] for layer in result]
    influence = [a * m[:, None] for a, m in zip(heads, passed, strict=True)]
    assert [one["score"] for one in found] == pytest.approx([score for score, *_ in every_path(influence)])
    first = found[0]
    assert first["certified"] is False
    assert [step["type"] for step in first["steps"]] == ["attn", "mlp"] * 2
    for attn, mlp in zip(first["steps"][::2], first["steps"][1::2], strict=True):
        layer, head, i, j = attn["layer"], attn["head"], attn["token"], attn["target_token"]
        assert mlp["token"] == mlp["target_token"] == j
        assert mlp["head"] == mlp["mlp_head"] == attn["mlp_head"] == head
        assert attn["influence"] == pytest.approx(influence[layer][head, i, j])
        assert mlp["influence"] == pytest.approx(passed[layer][head, j])
    conserving = Flow.of(result, "conserving").rollout()[-1]
    for i, j in itertools.product(range(3), repeat=2):
        scores = [one["score"] for one in strong_paths(result, source=i, target=j, top=10_000)]
        assert sum(scores) == pytest.approx(conserving[i, j])


def test_no_strong_path_goes_through_a_head_whose_sum_is_not_known():
    status = np.array([[0, 0, STATUSES.index("noise_limited")], [0, 0, 0]], np.uint8)
    off = np.array([[0.02, 0, 0], [0, 0, 0]])
    found = strong_paths(made(3, layers=1, **{"att.status": status, "att.entry_error": off}), top=10_000)
    steps = [one["steps"][0] for one in found]
    ways = {(step["head"], step["target_token"]) for step in steps}
    assert ways == {*itertools.product(range(2), range(3))} - {(0, 2)}
    assert {(step["head"], step["target_token"]) for step in steps if not step["certified"]} == {(0, 0)}


def test_of_a_column_that_is_not_known_no_flow_is_told():
    result = made(3, layers=2)
    conserving = result.load(1)["composed.conserving"].copy()
    conserving[:, 2] = np.nan
    with pytest.raises(InvalidRequest, match=r"of token 2 layer 0 has no conserving column.* follow product or layer"):
        Flow.of(made(3, layers=2, **{"composed.conserving": conserving}), "conserving")
    Flow.of(made(3, layers=2, **{"composed.conserving": conserving}), "product")


def test_columns_are_as_wide_as_worked_by_hand():
    values = np.array([[0.5, 0, 0], [-0.5, 1, 0], [0, 0, 0]])
    changes = {"z2z": values, "z2z.converged": np.ones(3, bool), "visible": np.array([[0, 0, 0], [1, 1, 2]])}
    row = next(row for row in concentration(made(3, layers=1, **changes)) if row["map"] == "layer")
    assert (row["columns"], row["unconverged"], row["head"]) == (2, 0, None)  # nothing moves in the third
    assert row["entropy"] == pytest.approx(np.log(2) / 2)
    assert row["relative_entropy"] == pytest.approx(1 / 2)
    assert row["distance"] == pytest.approx(0.5 / 2)
    assert row["self_share"] == pytest.approx((0.5 + 1) / 2)
    heads = [row["head"] for row in concentration(made(3, layers=1)) if row["map"] == "att"]
    assert heads == [0, 1]


@pytest.mark.parametrize("suffix", [".graphml", ".json"])
def test_networkx_reads_the_graph_that_was_written(tmp_path, suffix):
    flow = Flow.of(made())
    flow.labels[0] = "a\x00<&\ud800"
    write_graph(graph(flow, least=0.1), tmp_path / f"flow{suffix}")
    data = (tmp_path / f"flow{suffix}").read_bytes()
    read = (
        networkx.read_graphml(io.BytesIO(data))
        if suffix == ".graphml"
        else networkx.node_link_graph(json.loads(data), edges="edges")
    )
    assert read.graph["own_share"] == flow.own_share
    assert read.nodes["0:0"]["label"] == "a\ufffd<&\ufffd"
    expected = {
        (f"{k}:{i}", f"{k + 1}:{j}"): layer.shares[i, j]
        for k, layer in enumerate(flow.layers)
        for i, j in itertools.product(range(4), repeat=2)
        if abs(layer.shares[i, j]) > 0.1
    }
    assert {(i, j): share for i, j, share in read.edges(data="share")} == expected
    assert {certified for _, j, certified in read.edges(data="certified") if j.endswith(":1")} == {False}
    with pytest.raises(InvalidRequest, match="graphml"):
        write_graph(graph(flow), tmp_path / "flow.gexf")


def test_the_command_tells_what_was_chained(tmp_path):
    result = made()
    file = tmp_path / "result.npz"
    file.write_bytes(b"".join(write_npz(result.head, result)))
    done = CliRunner().invoke(
        cli.app, ["flow", str(file), "--into", "2", "--top", "3", "--graph", str(tmp_path / "g.graphml")]
    )
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    flow = Flow.of(result)
    assert told["own_share"] == flow.own_share
    assert [path["score"] for path in told["paths"]] == [path.score for path in flow.paths(target=2, top=3)]
    np.testing.assert_array_equal(told["rollout"], flow.rollout()[-1])
    assert networkx.read_graphml(tmp_path / "g.graphml").number_of_nodes() == 16
    strong = CliRunner().invoke(cli.app, ["flow", str(file), "--strong", "--top", "2"])
    assert json.loads(strong.stdout) == strong_paths(result, top=2)
    wrong = CliRunner().invoke(cli.app, ["flow", str(file), "--map", "att"])
    assert (wrong.exit_code, wrong.stderr) == (2, "lig: --map is one of layer, product, conserving; got 'att'\n")
