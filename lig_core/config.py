"""The options of `explain()` as one object."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lig_core.contract import ExplainRequest, parse_request


@dataclass
class LIGConfig:
    """The options of `explain(text, config=…)` as one object, to keep and pass around.

    Names, defaults and meanings are those of `explain()` and ExplainRequest; nothing is checked before it is used.
    """

    model: str = "bert-base-uncased"
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

    def request(self, text: str | None = None, tokens: list[str] | None = None) -> ExplainRequest:
        """These options asked of a text, or of its tokens; the device is not part of it. Raises InvalidRequest."""
        options = {name: value for name, value in vars(self).items() if name != "device"}
        return parse_request(with_plain_indices({"text": text, "tokens": tokens, **options}))


def with_plain_indices(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options whose indices may be as Python has them: ranges, tuples, arrays, NumPy's integers. All become ints.

    What is no integer is left as it is, for `parse_request` to refuse.
    """
    plain = {name: _index(options[name]) for name in ("num_steps", "target_head") if name in options}
    lists = {name: _indices(options[name]) for name in ("layers", "target_tokens") if name in options}
    return {**options, **plain, **lists}


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
