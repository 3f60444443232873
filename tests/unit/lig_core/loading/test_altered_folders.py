"""Of a folder that is altered in one place: a right result, or a refusal. `make folders` tries more of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from lig_core.blocks import attention
from tests.models.altered_folders import NAMES, TOLERANCE, judged, originals, plain, said, truth, try_each, weighted
from tests.models.checkpoints import configured


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_folder_altered_in_one_place_gives_a_right_result_or_a_refusal(seed: int, tmp_path: Path) -> None:
    faults, outcomes = try_each(seed, 20, tmp_path)
    assert not faults
    assert outcomes["result"] > 2
    assert outcomes["refusal"] > 2


def test_what_is_not_altered_is_right_and_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """Or else the test above shows nothing."""
    folders = originals(tmp_path)
    unaltered = {name: said(folder) for name, folder in folders.items()}
    for name in NAMES:
        expected = truth(folders[name], *plain(folders[name]))
        assert unaltered[name].tokens == expected.tokens
        assert np.abs(unaltered[name].values - expected.values).max() <= TOLERANCE * np.abs(expected.values).max()
        assert 0 < expected.rounding <= 1e-3 * TOLERANCE * np.abs(expected.values).max()  # it excuses nothing here
    configured(folders["bert"], layer_norm_eps=0.5)
    apart = np.abs(said(folders["bert"]).values - unaltered["bert"].values).max()
    assert apart > 1e-3 * np.abs(unaltered["bert"].values).max()
    assert judged(folders["bert"], unaltered["bert"]) == ("result", None)
    weighted(folders["gpt2"], lambda held: {**held, "h.0.more": held["wpe.weight"].clone()})
    with pytest.raises(AssertionError, match="leaves out"):
        truth(folders["gpt2"], *plain(folders["gpt2"]))


def test_a_map_of_nothing_but_rounding_is_right_within_that_rounding(tmp_path: Path) -> None:
    """One huge weight makes all tokens one vector, and their map what is left of z's last digits."""
    folders = originals(tmp_path)
    unaltered = said(folders["bert"])
    weighted(folders["bert"], lambda held: {name: _with_one_huge(x) for name, x in held.items()})
    expected = truth(folders["bert"], *plain(folders["bert"]))
    assert expected.rounding > TOLERANCE * np.abs(expected.values).max()
    assert judged(folders["bert"], unaltered) == ("result", None)


def test_where_transformers_cannot_run_a_folder_that_ours_can_the_unaltered_map_is_right(tmp_path: Path) -> None:
    """Its own attention of this kind raises in float64; the key says in which order it multiplies."""
    folder = originals(tmp_path)["gpt2"]
    unaltered = said(folder)
    configured(folder, reorder_and_upcast_attn=True)
    with pytest.raises(RuntimeError, match="upcast"):
        truth(folder, *plain(folder))
    assert judged(folder, unaltered) == ("result", None)


@pytest.mark.parametrize("key", ["scale_attn_by_inverse_layer_idx", "scale_attn_weights"])
def test_a_scale_that_a_model_gives_to_eager_attention_alone_is_not_left_out(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GPT-2 did before transformers 5.4."""
    folder = originals(tmp_path)["gpt2"]
    unaltered = said(folder)
    configured(folder, **{key: not json.loads((folder / "config.json").read_text())[key]})
    given = attention.attention

    def unscaled(*args: Any, scaling: float | None = None, **more: Any) -> tuple[Tensor, None]:
        return given(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(attention, "attention", unscaled)
        outcome = judged(folder, unaltered)
    attention.register()
    assert outcome == ("result", None)
    assert np.abs(said(folder).values - unaltered.values).max() > 1e-3 * np.abs(unaltered.values).max()


def _with_one_huge(weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        weight = weight.clone()
        weight[-1, -1] = -4.6e13
    return weight
