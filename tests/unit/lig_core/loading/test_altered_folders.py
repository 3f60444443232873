"""Of a folder that is altered in one place: a right result, or a refusal. `make folders` tries more of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
    configured(folders["bert"], layer_norm_eps=0.5)
    apart = np.abs(said(folders["bert"]).values - unaltered["bert"].values).max()
    assert apart > 1e-3 * np.abs(unaltered["bert"].values).max()
    assert judged(folders["bert"], unaltered["bert"]) == ("result", None)
    weighted(folders["gpt2"], lambda held: {**held, "h.0.more": held["wpe.weight"].clone()})
    with pytest.raises(AssertionError, match="leaves out"):
        truth(folders["gpt2"], *plain(folders["gpt2"]))
