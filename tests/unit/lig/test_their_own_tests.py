"""The public tests of the authors' library, said anew of this one: docs/migrate.md has them one by one.

Their checkpoints are the hub's; here tiny models of the same families stand for them. Those of compositions and self
terms are in tests/unit/lig_core/maps/test_self_term.py.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lig.api import explain
from lig_core.models.boundaries import from_config
from lig_core.models.catalog import ModelCard
from tests.models.tiny_families import FAMILIES
from tests.models.tiny_models import loaded

ZERO = {"baseline_att": "zero", "baseline_mlp": "zero", "baseline_layer": "zero"}


def result_of(name: str, **options: Any) -> dict[str, Any]:
    fixed = {"num_steps": 2, "layers": [0], "device": "cpu", "on_unconverged": "ignore"}
    return explain("the quick fox", model=loaded(name), **{**fixed, **options})


def described(name: str) -> dict[str, Any]:
    config = json.loads(FAMILIES[name].config.to_json_string(use_diff=False))
    return from_config(ModelCard(name, "", None, config))


def test_bert_is_described_from_its_config() -> None:
    info = described("bert")
    assert (info["model_type"], info["layout"]) == ("bert", "post_ln_encoder")
    assert {"att", "layer", "mlp"} <= set(info["supported_granularity"])


def test_gpt2_is_described_from_its_config() -> None:
    info = described("gpt2")
    assert (info["model_type"], info["layout"], info["architecture"]) == ("gpt2", "pre_ln_decoder", "decoder")
    assert {"att", "layer", "mlp"} <= set(info["supported_granularity"])


@pytest.mark.parametrize(("name", "layout"), [("bert", "post_ln_encoder"), ("gpt2", "pre_ln_decoder")])
def test_a_loaded_model_is_described(name: str, layout: str) -> None:
    info = loaded(name).boundaries()
    assert (info["layout"], info["num_layers"], info["ig_ready"]) == (layout, loaded(name).num_layers, True)


def test_the_att_core_of_a_loaded_bert_is_its_self_attention() -> None:
    assert "attention.self" in loaded("bert").boundaries()["hook_points"]["att_core"]


def test_a_result_says_where_its_boundaries_are() -> None:
    boundaries = result_of("bert", granularity="layer")["boundaries"]
    assert boundaries["layout"] == "post_ln_encoder"
    assert boundaries["nodes"]["z"]
    assert "hook_points" in boundaries


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("baselines", [{}, ZERO, {"baseline_mlp": "att_itb_a0"}], ids=["default", "zero", "a0"])
def test_three_maps_of_one_layer(name: str, baselines: dict[str, str]) -> None:
    result = result_of(name, granularity=["att", "mlp", "layer"], target_tokens=[1, 2], **baselines)
    assert result["model_type"] == FAMILIES[name].config.model_type
    layer = result["layers"]["0"]
    assert layer["z2z"]["shape"][0] >= 3
    target = layer["targets"]["1"]
    assert len(target["z2u"]["heads"]["0"]["contributions"]) >= 3
    assert target["u2z"]["baseline"] == baselines.get("baseline_mlp", "zero")
    assert len(target["u2z"]["contributions"]) > 0


def test_one_head_of_gpt2() -> None:
    result = result_of("gpt2", granularity="att", baseline_att="zero", target_tokens=[1], target_head=0)
    assert result["architecture"] == "decoder"
    assert result["layers"]["0"]["targets"]["1"]["z2u"]["heads"]["0"]["contributions"]


@pytest.mark.parametrize("name", ["mpnet", "distilbert", "switch_transformers", "mamba"])
def test_the_layer_map_of_models_that_theirs_takes_whole(name: str) -> None:
    result = result_of(name, granularity="layer", target_tokens=[1])
    assert result["model_type"] == FAMILIES[name].config.model_type
    assert result["layers"]["0"]["z2z"]["shape"][0] >= 2
    assert "targets" not in result["layers"]["0"]


def test_a_model_without_attention_rejects_att() -> None:
    with pytest.raises(NotImplementedError):
        result_of("mamba", granularity="att")


@pytest.mark.parametrize("name", ["mpnet", "distilbert", "switch_transformers", "llama", "mistral", "t5_encoder"])
def test_att_of_models_that_theirs_rejects(name: str) -> None:
    assert result_of(name, granularity="att", target_tokens=[1])["layers"]["0"]["targets"]["1"]["z2u"]["heads"]


@pytest.mark.parametrize("baseline", ["itb_zero_ratio", "itb_map_ratio"])
def test_the_ratio_baselines_of_att(baseline: str) -> None:
    result = result_of("bert", granularity="att", baseline_att=baseline, target_tokens=[1], target_head=0)
    z2u = result["layers"]["0"]["targets"]["1"]["z2u"]
    assert z2u["baseline"] == baseline
    assert z2u["heads"]["0"]["contributions"]


def test_the_ratio_baseline_of_the_layer_map_keeps_column_sums() -> None:
    maps = [result_of("bert", granularity="layer", baseline_layer=name) for name in ("itb_zero_ratio", "ITB")]
    corrected, itb = (np.array(each["layers"]["0"]["z2z"]["matrix"]) for each in maps)
    assert maps[0]["layers"]["0"]["z2z"]["baseline"] == "itb_zero_ratio"
    assert np.abs(corrected.sum(0) - itb.sum(0)).max() <= 1e-9 * np.abs(itb.sum(0)).max()


def test_the_layer_map_from_zero_is_complete() -> None:
    result = result_of("bert", granularity="layer", baseline_layer="zero", num_steps=None)
    z2z = result["layers"]["0"]["z2z"]
    values, totals = np.array(z2z["matrix"]), np.array(z2z["certificate"]["total"])
    assert (totals > 0).all()
    assert (values != 0).any(axis=0).all()
    assert np.abs(values.sum(0) - totals).max() <= result["config"]["rtol"] * totals.max()


def test_a_baseline_that_does_not_exist_is_rejected_by_its_name() -> None:
    with pytest.raises(ValueError, match="self_output_token"):
        result_of("bert", baseline_att="self_output_token", granularity="att")
