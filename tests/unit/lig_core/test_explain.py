"""The result document: the authors' keys, sums that add up, certificates that are kept, refusals that say why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from lig_core.contract import ExplainRequest, Progress
from lig_core.errors import InvalidRequest, NotConverged, TextTooLong, UnsupportedMap
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.method import run
from lig_core.models.catalog import find_model
from lig_core.result.plain.text import plain, to_json
from lig_core.result_schema import ExplainResult
from tests.models.brute_force import Truth, gauss, truth
from tests.models.tiny_models import LAYERS, POSITIONS, loaded
from tests.models.together import explain_together
from tests.support.closeness import assert_close

TEXT = "the quick fox sat and nobody minded"
ROUNDING = 1e-12  # of float64: the tiny models compute in it
SENTENCES = (
    "Rain fell all night, and by morning the river had swallowed the lower bridge.",
    "She never said that he stole the money; somebody else did.",
    "Gold fell 3.2% in 2013?!",
)


def explained(model: LoadedModel, text: str = TEXT, **fields: Any) -> dict[str, Any]:
    return plain(run(ExplainRequest(text=text, model="any", **fields), model))


@cache
def whole(name: str = "bert") -> dict[str, Any]:
    """Everything about TEXT."""
    return explained(loaded(name), labels=True)


def matrix(document: dict[str, Any]) -> Tensor:
    """[source, target], NaN for null."""
    rows = [[math.nan if x is None else x for x in row] for row in document["matrix"]]
    return torch.tensor(rows, dtype=torch.float64)


def numbers(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def head_values(target: dict[str, Any]) -> Tensor:
    """[heads, sources]."""
    return numbers([head["contributions"] for head in target["z2u"]["heads"].values()])


def test_the_document_has_the_authors_keys() -> None:
    document = whole()
    keys = ("text", "tokens", "model", "model_type", "config", "boundaries", "layers")
    assert [key for key in keys if key not in document] == []
    assert document["text"] == TEXT
    assert document["tokens"] == TEXT.split()
    assert document["model_type"] == "bert"
    assert list(document["layers"]) == ["0", "1", "2"]
    for index, layer in document["layers"].items():
        assert layer["layer_idx"] == int(index)
        assert 0 <= layer["replay_error"] <= 1e-4
        assert {"baseline", "description", "shape", "matrix", "token_to_token"} <= set(layer["z2z"])
        assert layer["z2z"]["shape"] == [7, 7]
        assert list(layer["targets"]) == [str(token) for token in range(7)]
        for token, target in layer["targets"].items():
            assert target["target_token_idx"] == int(token)
            assert target["target_token"] == document["tokens"][int(token)]
            assert {"baseline", "description", "heads"} <= set(target["z2u"])
            assert list(target["z2u"]["heads"]) == ["0", "1", "2", "3"]
            for head in target["z2u"]["heads"].values():
                assert {"contributions", "token_l2_norm"} <= set(head)
                assert len(head["contributions"]) == 7
            assert {"baseline", "description", "contributions", "l2_total", "completeness"} <= set(target["u2z"])
            assert len(target["u2z"]["contributions"]) == 32


def test_the_document_is_an_explain_result() -> None:
    for document in (whole(), explained(loaded("gpt2"), target_tokens=[2], layers=[1], num_steps=5)):
        result = ExplainResult.model_validate(document)
        assert result.tokens == document["tokens"]
        again = ExplainResult.model_validate_json(to_json(document))
        assert again == result


def test_the_document_is_json() -> None:
    request, expected = ExplainRequest(text=TEXT), explained(loaded("bert"))
    assert orjson.loads(to_json(run(request, loaded("bert")))) == {
        **expected,
        "model": "bert-base-uncased",
        "receipt": {**expected["receipt"], "request": request.digest},
    }


def test_every_column_of_every_map_sums_to_its_total() -> None:
    for layer in whole()["layers"].values():
        certificate = layer["z2z"]["certificate"]
        assert certificate["all_converged"]
        for total, column in zip(certificate["total"], matrix(layer["z2z"]).T, strict=True):
            assert_close(column.sum(), total, 1e-3)
        for target in layer["targets"].values():
            for head in target["z2u"]["heads"].values():
                assert_close(sum(head["contributions"]), head["total"], 1e-3)
                assert_close(head["token_l2_norm"], math.hypot(*head["contributions"]), ROUNDING)
            mlp = target["u2z"]
            assert_close(sum(mlp["contributions"]), mlp["l2_total"], 1e-3)
            error = sum(mlp["contributions"]) - mlp["l2_total"]
            assert_close(mlp["completeness"]["error"], error, ROUNDING, scale=mlp["l2_total"])
            assert_close(mlp["completeness"]["max_abs_error"], abs(error), ROUNDING, scale=mlp["l2_total"])


def test_conserving_columns_sum_to_the_mlp_totals_from_the_heads() -> None:
    composed = whole()["layers"]["1"]["composed"]["conserving"]
    heads = explained(loaded("bert"), granularity="mlp", u_node="heads", layers=[1])["layers"]["1"]["targets"]
    for token, column in enumerate(matrix(composed).T):
        mlp = heads[str(token)]["u2z"]
        assert_close(column.sum(), sum(mlp["head_contributions"]), ROUNDING, scale=mlp["head_contributions"])
        assert_close(column.sum(), mlp["l2_total"], 1e-3)


def test_the_l2_diagnostic_compares_the_composition_with_the_layer_map() -> None:
    layer = whole()["layers"]["0"]
    whole_map = matrix(layer["z2z"])
    for kind in ("product", "conserving"):
        found = layer["composed"][kind]
        difference = (whole_map - matrix(found)).norm(dim=0)
        told = found["l2_diagnostic"]
        assert_close(told["distance"], difference, ROUNDING, scale=whole_map)
        assert_close(told["normalised_distance"], difference / whole_map.norm(dim=0), ROUNDING, scale=1)
        pearson = [
            float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(whole_map.T, matrix(found).T, strict=True)
        ]
        assert_close(told["pearson"], pearson, ROUNDING, scale=1)
        assert_close(told["mean_pearson"], sum(pearson) / 7, ROUNDING, scale=1)


def test_labels_repeat_the_matrix_entry_by_entry() -> None:
    document = whole()
    for layer in document["layers"].values():
        for found in (layer["z2z"], layer["composed"]["product"], layer["composed"]["conserving"]):
            values = matrix(found)
            for target in found["token_to_token"]:
                j = target["target_token_idx"]
                assert target["target_token"] == document["tokens"][j]
                assert [entry["value"] for entry in target["contributions"]] == values[:, j].tolist()
    assert "token_to_token" not in explained(loaded("bert"), granularity="layer", layers=[0])["layers"]["0"]["z2z"]


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_some_targets_are_the_same_columns_and_the_rest_is_null(name: str) -> None:
    full, some = whole(name), explained(loaded(name), target_tokens=[4, 1])
    assert some["config"]["target_tokens"] == [1, 4]
    for index, layer in some["layers"].items():
        assert list(layer["targets"]) == ["1", "4"]
        found, expected = matrix(layer["z2z"]), matrix(full["layers"][index]["z2z"])
        assert_close(found[:, [1, 4]], expected[:, [1, 4]], 1e-3)
        assert found[:, [0, 2, 3, 5, 6]].isnan().all()
        assert layer["z2z"]["matrix"][0][0] is None
        certificate = layer["z2z"]["certificate"]
        for key in ("total", "completeness_error", "nodes", "converged", "status"):
            assert [token for token, value in enumerate(certificate[key]) if value is not None] == [1, 4]


def test_one_head_is_that_head_of_the_full_result() -> None:
    found = explained(loaded("llama"), target_head=2, num_steps=6)
    every = explained(loaded("llama"), num_steps=6)
    for index, layer in found["layers"].items():
        for token, target in layer["targets"].items():
            heads = target["z2u"]["heads"]
            expected = every["layers"][index]["targets"][token]["z2u"]["heads"]["2"]
            assert list(heads) == ["2"]
            assert_close(heads["2"]["contributions"], expected["contributions"], ROUNDING)
        for kind in ("product", "conserving"):  # of all heads all the same
            maps = (matrix(document["layers"][index]["composed"][kind]) for document in (found, every))
            assert_close(*maps, ROUNDING)


def test_maps_and_layers_that_were_not_asked_for_are_absent() -> None:
    document = explained(loaded("bert"), granularity="att", layers=[2])
    assert list(document["layers"]) == ["2"]
    assert set(document["layers"]["2"]) == {"layer_idx", "replay_error", "targets"}
    assert set(document["layers"]["2"]["targets"]["0"]) == {"target_token_idx", "target_token", "z2u"}
    assert set(explained(loaded("bert"), granularity="layer", layers=[0])["layers"]["0"]) == {
        "layer_idx",
        "replay_error",
        "z2z",
    }


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_document_holds_the_brute_force_numbers(name: str) -> None:
    """With a fixed rule, at the same nodes, in float64."""
    model = loaded(name)
    ids = tuple(model.tokenizer(TEXT)["input_ids"])
    document = explained(model, num_steps=4, dtype="float64", baseline_layer="zero", baseline_att="zero")
    for index in range(LAYERS):
        expected, layer = truth(name, index, ids), document["layers"][str(index)]
        assert_close(matrix(layer["z2z"]).T, expected.layer_map("zero", *gauss(4)), 1e-9)
        att, mlp = expected.att_map("zero", *gauss(4)), expected.mlp_map_residual("zero", *gauss(4))
        for token, target in layer["targets"].items():
            assert_close(head_values(target), att[int(token)], 1e-9)
            assert_close(numbers(target["u2z"]["contributions"]), mlp[int(token)], 1e-9)


def test_ratio_baselines_keep_the_sums_and_fill_the_diagonal() -> None:
    plain_itb = explained(loaded("bert"), granularity=["layer", "att"], layers=[1], rtol=1e-6)
    for att, layer in (("itb_zero_ratio", "itb_zero_ratio"), ("itb_map_ratio", "self_input_token")):
        found = explained(
            loaded("bert"), granularity=["layer", "att"], layers=[1], rtol=1e-6, baseline_att=att, baseline_layer=layer
        )
        for token in range(7):
            heads, raw = (d["layers"]["1"]["targets"][str(token)]["z2u"]["heads"] for d in (found, plain_itb))
            for h in raw:
                assert raw[h]["contributions"][token] == 0
                assert heads[h]["contributions"][token] != 0
                assert_close(
                    sum(heads[h]["contributions"]), sum(raw[h]["contributions"]), 1e-9, scale=raw[h]["contributions"]
                )
        columns, raw_columns = (matrix(d["layers"]["1"]["z2z"]).sum(0) for d in (found, plain_itb))
        assert_close(columns, raw_columns, 1e-9)


def test_a_text_of_one_token_is_explained() -> None:
    for name in ("bert", "llama", "t5_encoder"):
        document = explained(loaded(name), "fox", baseline_layer="zero", baseline_att="zero", rtol=1e-4)
        for layer in document["layers"].values():
            assert layer["z2z"]["shape"] == [1, 1]
            (total,) = layer["z2z"]["certificate"]["total"]
            assert_close(layer["z2z"]["matrix"][0][0], total, 1e-4)
        own = explained(loaded(name), "fox")
        assert own["layers"]["0"]["z2z"]["matrix"] == [[0.0]]
        assert own["layers"]["0"]["z2z"]["certificate"]["status"] == ["zero_path"]


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gemma2", "modernbert", "t5_encoder"])
def test_texts_explained_in_a_batch_get_the_numbers_they_get_alone(name: str) -> None:
    texts = (TEXT, "dogs sat", "the brown fox jumped over")
    requests = [ExplainRequest(text=text, num_steps=3, dtype="float64") for text in texts]
    for request, (tokens, layers) in zip(requests, explain_together(requests, loaded(name)), strict=True):
        alone = run(request, loaded(name))
        assert list(tokens) == alone["tokens"]
        for maps, layer in zip(layers, alone["layers"].values(), strict=True):
            matrix = maps.layer.attribution.values[:, : len(tokens)].T
            assert_close(matrix, numbers(layer["z2z"]["matrix"]), 1e-9)
            assert len(layer["targets"]) == len(tokens)
            for mlp, target in zip(maps.mlp.attribution.values, layer["targets"].values(), strict=True):
                assert_close(mlp, numbers(target["u2z"]["contributions"]), 1e-9)


def test_progress_counts_layers_up_to_all_of_them() -> None:
    seen: list[Progress] = []
    run(ExplainRequest(text=TEXT, granularity="layer", num_steps=2), loaded("bert"), progress=seen.append)
    assert [(step.done, step.total) for step in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_unconverged_result_is_flagged_and_refused_on_request() -> None:
    asked = {"num_steps": 1, "granularity": "layer", "baseline_layer": "zero"}
    document = explained(loaded("gpt2"), **asked)
    assert not document["converged"]
    certificate = document["layers"]["0"]["z2z"]["certificate"]
    assert not certificate["all_converged"]
    assert set(certificate["status"]) == {"fixed"}
    assert max(certificate["completeness_error"]) > 1e-3
    with pytest.raises(NotConverged, match=r"misses the tolerance .* more num_steps \(left out, it is adaptive\)"):
        explained(loaded("gpt2"), **asked, on_unconverged="fail")


def test_a_composition_alone_has_converged_where_the_maps_that_it_hides_have() -> None:
    asked = {"num_steps": 2, "layers": [0, 1, 2], "u_node": "heads"}
    alone, whole = (explained(loaded("gpt2"), **asked, granularity=maps) for maps in ("composed", "all"))
    verdicts = []
    for index, layer in whole["layers"].items():
        for token, target in layer["targets"].items():
            heads = [head["converged"] for head in target["z2u"]["heads"].values()]
            parts = layer["z2z"]["certificate"]["converged"][int(token)], all(heads), target["u2z"]["converged"]
            assert alone["layers"][index]["composed"]["converged"][int(token)] == all(parts)
            verdicts.append(all(parts))
        assert list(alone["layers"][index].keys() & {"z2z", "targets"}) == []
    assert {True, False} == set(verdicts)  # else this shows little
    assert not alone["converged"]
    missed = [(each["map"], each["columns"]) for each in alone["unconverged"]]
    assert {name for name, _ in missed} == {"composed"}
    assert sum(columns for _, columns in missed) == verdicts.count(False)
    with pytest.raises(NotConverged, match="columns of composed"):
        explained(loaded("gpt2"), **asked, granularity="composed", on_unconverged="fail")


def test_a_converged_result_is_not_refused() -> None:
    assert explained(loaded("bert"), granularity="layer", layers=[0], on_unconverged="fail")["converged"]


def test_a_text_over_the_models_positions_is_refused_not_cut() -> None:
    explained(loaded("bert"), "fox " * POSITIONS, granularity="mlp", layers=[0], num_steps=1)
    with pytest.raises(TextTooLong, match=f"{POSITIONS + 1} tokens.*at most {POSITIONS}"):
        explained(loaded("bert"), "fox " * (POSITIONS + 1))


def test_a_target_token_the_text_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="tokens 0 to 6") as refused:
        explained(loaded("bert"), target_tokens=[0, 7])
    assert [fault.pointer for fault in refused.value.errors] == ["/target_tokens"]


def test_a_parallel_model_has_an_mlp_map_from_the_heads_alone() -> None:
    with pytest.raises(UnsupportedMap, match="u_node='heads'"):
        explained(loaded("gpt_neox"), granularity="mlp", num_steps=2)
    assert explained(loaded("gpt_neox"), granularity="mlp", num_steps=2, u_node="heads")["layers"]


def test_a_layer_the_loaded_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        explained(loaded("bert"), layers=[7], num_steps=1)


def test_a_head_the_loaded_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        explained(loaded("bert"), target_head=7, num_steps=1, granularity="att")


def test_labels_of_some_targets_name_every_source() -> None:
    request = ExplainRequest(text=TEXT, granularity="layer", target_tokens=[1], labels=True, num_steps=1)
    (column,) = run(request, loaded("bert"))["layers"]["0"]["z2z"]["token_to_token"]
    assert [entry["source_token_idx"] for entry in column["contributions"]] == list(range(7))


def test_a_t5_encoder_is_not_described_as_post_norm() -> None:
    assert loaded("t5_encoder").boundaries()["layout"] == "pre_ln_encoder"


# the bundled model


@pytest.mark.parametrize("baseline", ["zero", "self_input_token"])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_layer_map_of_minilm_is_complete(minilm: LoadedModel, sentence: str, baseline: Any) -> None:
    document = explained(minilm, sentence, granularity="layer", baseline_layer=baseline)
    assert document["converged"]
    assert len(document["layers"]) == 6
    for layer in document["layers"].values():
        certificate = layer["z2z"]["certificate"]
        assert max(certificate["completeness_error"]) <= 1e-3
        sums = matrix(layer["z2z"]).sum(0)
        for found, total in zip(sums.tolist(), certificate["total"], strict=True):
            assert_close(found, total, 1.01e-3)  # the matrix is rounded to float32


@pytest.fixture(scope="module")
def minilm_float64() -> LoadedModel:
    return load_model(find_model("minilm"), device="cpu", dtype="float64")


def certificates(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for layer in document["layers"].values():
        for target in layer["targets"].values():
            yield target["u2z"]
            yield from target["z2u"]["heads"].values()


def test_all_maps_of_minilm_are_complete_in_float64(minilm_float64: LoadedModel) -> None:
    document = explained(minilm_float64, SENTENCES[2], layers=[0, 5], dtype="float64")
    assert document["converged"]
    assert all(found["completeness_error"] <= 1e-3 for found in certificates(document))


def test_all_maps_of_minilm_are_complete_in_float32_or_limited_by_rounding(minilm: LoadedModel) -> None:
    document = explained(minilm, SENTENCES[2], layers=[0, 5])
    for found in certificates(document):
        assert found["status"] in ("ok", "noise_limited")
        assert found["converged"] or found["status"] == "noise_limited"
        assert found["completeness_error"] <= 1e-3 or found["status"] == "noise_limited"


class MinilmTruth:
    """Layers 0 and 3 of the bundled model in float64, at the last sentence; each map is computed once."""

    def __init__(self) -> None:
        source = find_model("minilm").source
        model = AutoModel.from_pretrained(source, attn_implementation="eager", dtype=torch.float64).eval()
        ids = AutoTokenizer.from_pretrained(source)(SENTENCES[2], return_tensors="pt")["input_ids"]
        blocks = [model.encoder.layer[k] for k in (0, 3)]
        self.layers = [Truth(model, block, "attention.output.dense", {"input_ids": ids}) for block in blocks]
        self.layer_maps = cache(lambda baseline: [layer.layer_map(baseline, *gauss(2)) for layer in self.layers])
        self.att_maps = cache(lambda baseline: [layer.att_map(baseline, *gauss(2)) for layer in self.layers])


@pytest.fixture(scope="module")
def minilm_truth() -> MinilmTruth:
    return MinilmTruth()


@pytest.mark.parametrize("baseline", ["zero", "self_input_token"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_layers_and_heads_of_minilm_are_the_brute_force_ones(
    minilm: LoadedModel,
    minilm_float64: LoadedModel,
    minilm_truth: MinilmTruth,
    baseline: Any,
    dtype: Any,
    tolerance: float,
) -> None:
    document = explained(
        minilm if dtype == "float32" else minilm_float64,
        SENTENCES[2],
        granularity=["layer", "att"],
        baseline_layer=baseline,
        baseline_att=baseline,
        layers=[0, 3],
        num_steps=2,
        dtype=dtype,
    )
    maps = zip(minilm_truth.layer_maps(baseline), minilm_truth.att_maps(baseline), strict=True)
    for layer, (whole_map, heads) in zip(document["layers"].values(), maps, strict=True):
        assert_close(matrix(layer["z2z"]).T, whole_map, tolerance)
        assert_close(torch.stack([head_values(t) for t in layer["targets"].values()]), heads, tolerance)


def test_the_truth_about_minilm_is_the_model_itself(minilm_truth: MinilmTruth) -> None:
    for layer in minilm_truth.layers:
        assert_close(layer.run(layer.z), layer.out, ROUNDING)
