"""`explain()` as the authors' library takes it: the layer map of every token, indices repeated, lists empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lig_core import load
from lig_core.config import LIGConfig, plain_options
from lig_core.contract import ExplainRequest
from lig_core.loading.describe import describe_boundaries
from lig_core.loading.given import asked_of
from lig_core.loading.loaded import LoadedModel
from lig_core.method import explain as explain_as_asked
from lig_core.method import stream
from lig_core.result.plain.text import to_json
from lig_core.result.viewer.show import Explanation

__all__ = ["describe_boundaries", "explain", "explain_to_json"]

Document = dict[str, Any]


def explain(
    text: str,
    *,
    model: str | LoadedModel = "bert-base-uncased",
    num_steps: int | None = None,
    granularity: str | list[str] = "all",
    baseline_att: str = "self_input_token",
    baseline_mlp: str = "zero",
    baseline_layer: str = "self_input_token",
    layers: Sequence[int] | None = None,
    target_tokens: Sequence[int] | None = None,
    target_head: int | None = None,
    device: Any = None,
    include_residual_connection: bool = True,
    config: LIGConfig | None = None,
    **more: Any,
) -> Document:
    """`lig_core.explain`, but for three things that the authors' library has otherwise.

    With `target_tokens` the layer map is that of all tokens nevertheless; `targets` and `token_to_token` have those
    asked for. An index that is repeated counts once. An empty list asks for none: of layers, for no layer; of target
    tokens, for no target; of maps, for none. Raises a LigError, each of which is a ValueError or a
    NotImplementedError where theirs is one.
    """
    if config is None:
        config = LIGConfig(
            model=model,
            num_steps=num_steps,
            granularity=granularity,
            baseline_att=baseline_att,
            baseline_mlp=baseline_mlp,
            baseline_layer=baseline_layer,
            layers=_once(layers),
            target_tokens=_once(target_tokens),
            target_head=target_head,
            device=device,
            include_residual_connection=include_residual_connection,
            **more,
        )
    else:
        config = replace(config, layers=_once(config.layers), target_tokens=_once(config.target_tokens))
    empty, names = _empty(config), config.resolved_granularity()
    if not empty and (config.target_tokens is None or "layer" not in names):
        return explain_as_asked(text, config=config)
    loaded = config.model
    if not isinstance(loaded, LoadedModel):
        full = _request(text, config)  # refused before it is loaded
        loaded = load(full.model, device=config.device, dtype=full.dtype)
    return _in_parts(text, replace(config, model=loaded, device=None))


def explain_to_json(text: str, **options: Any) -> str:
    """`explain` as indented JSON text."""
    return to_json(explain(text, **options), indented=True).decode()


def _in_parts(text: str, config: LIGConfig) -> Document:
    """The layer map of all tokens, and the other maps of the targets, in one document."""
    head = _head(text, config)
    asked = head["config"]
    names, others = asked["granularity"], [name for name in asked["granularity"] if name != "layer"]
    parts = []
    if asked["layers"] and "layer" in names:
        parts.append(explain_as_asked(text, config=replace(config, granularity=["layer"], target_tokens=None)))
    if asked["layers"] and others and asked["target_tokens"]:
        parts.append(explain_as_asked(text, config=replace(config, granularity=others)))
    document: Document = {**head, "layers": {}, "converged": True, "columns": {}, "unconverged": []}
    for index in asked["layers"]:
        layer: Document = {"layer_idx": index}
        for part in parts:
            layer |= part["layers"][str(index)]
        if "z2z" in layer and "token_to_token" in layer["z2z"]:
            rows = [row for row in layer["z2z"]["token_to_token"] if row["target_token_idx"] in asked["target_tokens"]]
            layer["z2z"]["token_to_token"] = rows
        if {"att", "mlp"} & {*names}:
            layer.setdefault("targets", {})
        document["layers"][str(index)] = layer
    for part in parts:
        document["converged"] &= part["converged"]
        for status, count in part["columns"].items():
            document["columns"][status] = document["columns"].get(status, 0) + count
        document["unconverged"] += part["unconverged"]
    return Explanation(document)


def _head(text: str, config: LIGConfig) -> Document:
    """What is known before anything is computed, of the maps, layers and targets that were asked for.

    What asks for none of something is no request, and has no digest.
    """
    empty = _empty(config)
    head, _ = stream(asked_of(_request(text, config), config.model, None), config.model)
    receipt = {**head["receipt"], "request": None} if empty else head["receipt"]
    return {**head, "config": {**head["config"], **{name: [] for name in empty}}, "receipt": receipt}


def _request(text: str, config: LIGConfig) -> ExplainRequest:
    """The request, with all of what an empty list asks none of."""
    whole: dict[str, Any] = {name: "layer" if name == "granularity" else None for name in _empty(config)}
    return replace(config, **whole).request(text)


def _empty(config: LIGConfig) -> list[str]:
    """The options that are lists, and empty."""
    lists = ("layers", "target_tokens", "granularity")
    return [name for name in lists if not isinstance(x := getattr(config, name), str) and x is not None and not len(x)]


def _once(indices: Any) -> Any:
    """A list in which each index stands once; what is none is left for the request to refuse."""
    plain = plain_options({"layers": indices, "model": ""})["layers"]
    hashable = isinstance(plain, list) and all(isinstance(index, int) for index in plain)
    return list(dict.fromkeys(plain)) if hashable else plain
