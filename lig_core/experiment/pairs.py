"""The 24 pairs of baselines: one for the layer map, and two for what is composed beside it; by the authors' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from lig_core.contract import AttBaseline, LayerBaseline, MlpBaseline
from lig_core.errors import InvalidRequest

LAYER: Mapping[LayerBaseline, tuple[str, str, str]] = {
    "zero": ("Zero", "lig_zero", "zero"),
    "self_input_token": ("ITB", "lig_itb", "itb"),
    "itb_zero_ratio": ("LAYER-ITB-zeroRatio", "lig_itb_zero_ratio", "itb_zero_ratio"),
}
"""The name, the key and the group of each."""
ATT: Mapping[AttBaseline, tuple[str, str]] = {
    "zero": ("zero", "att0"),
    "self_input_token": ("ITB", "att_itb"),
    "itb_map_ratio": ("ITB-mapRatio", "att_itbmap"),
    "itb_zero_ratio": ("ITB-zeroRatio", "att_itb_zbr"),
}
MLP: Mapping[MlpBaseline, tuple[str, str]] = {"zero": ("zero", "mlp0"), "att_itb_a0": ("ATTITBa=0", "mlp_attitba0")}


@dataclass(frozen=True)
class Pair:
    """A layer map and the composition that is compared with it, by their baselines."""

    layer: LayerBaseline
    att: AttBaseline
    mlp: MlpBaseline

    @property
    def name(self) -> str:
        """The authors' name: LIG(…) | ATT(…)+MLP(…)."""
        return f"LIG({LAYER[self.layer][0]}) | {self.composed_name}"

    @property
    def composed_name(self) -> str:
        """ATT(…)+MLP(…)."""
        return f"ATT({ATT[self.att][0]})+MLP({MLP[self.mlp][0]})"

    @property
    def key(self) -> str:
        """The authors' key."""
        return f"{self.layer_key}_{self.composed_key}"

    @property
    def layer_key(self) -> str:
        """The key of the layer map."""
        return LAYER[self.layer][1]

    @property
    def composed_key(self) -> str:
        """The key of the composition."""
        return f"{ATT[self.att][1]}_{MLP[self.mlp][1]}"

    @property
    def group(self) -> str:
        """The authors' group: pairs that share a layer map."""
        return LAYER[self.layer][2]


PAIRS: tuple[Pair, ...] = tuple(Pair(*each) for each in product(LAYER, ATT, MLP))
GROUPS: tuple[str, ...] = ("itb", "itb_zero_ratio", "zero")
"""Groups in the order of the authors' table."""


def chosen(keys: Sequence[str] | None) -> tuple[Pair, ...]:
    """The pairs with these keys, or of these groups, in the order of PAIRS; None: all. Raises InvalidRequest."""
    if keys is None:
        return PAIRS
    known = {pair.key for pair in PAIRS} | {*GROUPS}
    if wrong := [key for key in keys if key not in known]:
        raise InvalidRequest(
            f"no pair or group is called '{wrong[0]}'; groups are {', '.join(GROUPS)}, keys such as {PAIRS[0].key}"
        )
    return tuple(pair for pair in PAIRS if pair.key in keys or pair.group in keys)
