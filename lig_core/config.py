"""The options of `explain()` as one object."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lig_core.contract import ALL_MAPS, MOST_NAME, ExplainRequest, parse_request

PAPER_NAMES = {
    "zero": "zero",
    "itb": "self_input_token",
    "itb-zeroratio": "itb_zero_ratio",
    "itb-mapratio": "itb_map_ratio",
    "attitba=0": "att_itb_a0",
}
"""The baselines by their names in the paper and in the authors' README, without case."""


@dataclass
class LIGConfig:
    """The options of `explain(text, config=…)` as one object, to keep and pass around.

    Names, defaults and meanings are those of `explain()` and ExplainRequest; nothing is checked before it is used.
    Of `explain` too, `model` may be a loaded one; a request of one has its name.
    """

    model: Any = "bert-base-uncased"
    num_steps: int | None = None
    granularity: str | list[str] = "all"
    baseline_att: str = "self_input_token"
    baseline_mlp: str = "zero"
    baseline_layer: str = "self_input_token"
    layers: list[int] | None = None
    target_tokens: list[int] | None = None
    target_head: int | None = None
    device: str | None = None
    include_residual_connection: bool = True
    labels: bool = True
    u_node: str = "residual"
    rtol: float = 1e-3
    on_unconverged: str = "warn"
    dtype: str = "float32"
    merge_subwords: bool = False
    special_tokens: bool = True
    prefix_space: bool = False

    def request(self, text: str | None = None, tokens: list[str] | None = None) -> ExplainRequest:
        """These options asked of a text, or of its tokens; the device is not part of it. Raises InvalidRequest."""
        options = {name: value for name, value in vars(self).items() if name != "device"}
        return parse_request(plain_options({"text": text, "tokens": tokens, **options}))

    def resolved_granularity(self) -> list[str]:
        """The maps that `granularity` names, `all` written out; a model that lacks one of these is spared it."""
        names = [self.granularity] if isinstance(self.granularity, str) else list(self.granularity)
        return list(ALL_MAPS) if "all" in names else names


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that may be as Python and the paper have them, as a request has them.

    Indices come as ranges, tuples, arrays, NumPy's integers, and become ints; baselines by the paper's names, of any
    case. What is neither is left as it is, for `parse_request` to refuse.
    """
    plain = {name: _index(options[name]) for name in ("num_steps", "target_head") if name in options}
    lists = {name: _indices(options[name]) for name in ("layers", "target_tokens") if name in options}
    baselines = {name: _baseline(value) for name, value in options.items() if name.startswith("baseline_")}
    return {**options, **plain, **lists, **baselines, "model": _name(options["model"])}


def _name(model: Any) -> Any:
    """The name of a model: a loaded one has its card's."""
    card = getattr(model, "card", None)
    return model if card is None else card.name[:MOST_NAME]


def _baseline(value: Any) -> Any:
    return PAPER_NAMES.get(value.casefold(), value) if isinstance(value, str) else value


def _indices(value: Any) -> Any:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return value
    return [_index(item) for item in value]


def _index(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value
