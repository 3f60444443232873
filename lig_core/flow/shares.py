"""A map of every layer as shares of its columns, one layer after the other, and their product.

For the map M of layer l, as `matrix[source][target]`:

    total      S[i, j] = M[i, j] / T_j          T_j: the column's total, of a composition its sum
    absolute   S[i, j] = |M[i, j]| / Σ_i |M[i, j]|

Shares of totals keep their signs; a column sums to 1 as far as it is complete, and equals what the viewer draws.
Absolute ones are non-negative and sum to 1. In a column where nothing moves (T_j = 0, such as the first token of a
causal model) the token is all that there is: its own share is 1, but under ITB, where no token has one.

What a token keeps of itself depends on the baseline, and so does every product of shares (`Flow.self_term`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from lig_core.errors import InvalidRequest
from lig_core.flow.strongest import Path, Step, Trail, strongest
from lig_core.result.arrays import STATUSES, Array, Head, LayerArrays, Result
from lig_core.result.read import from_document
from lig_core.result.render import ITB

FlowMap = Literal["layer", "product", "conserving"]
Normalisation = Literal["total", "absolute"]
SelfTerm = Literal["map", "half"]
TENSORS: Mapping[FlowMap, str] = {
    "layer": "z2z",
    "product": "composed.product",
    "conserving": "composed.conserving",
}
SELF_TERMS: Mapping[str, str] = {
    "zero": "as the zero baseline gives it",
    "itb_zero_ratio": "in the ratio that the zero baseline gives it",
    "itb_map_ratio": "in the ratio that the attention weights give it",
    ITB: "none: under this baseline it is 0 by definition",
}
"""By baseline: what a token's own share is."""
HALF = "half of every column, the other half in proportion to the map's shares"


@dataclass(frozen=True)
class LayerShares:
    """One layer of a flow: `shares` and `values` [source, target] in float64; `converged` and `status` by target.

    A composition has no status of its own.
    """

    layer: int
    shares: Array
    values: Array
    converged: Array
    status: tuple[str | None, ...]


@dataclass(frozen=True)
class Flow:
    """Consecutive layers of one result as shares of one map.

    self_term is `map` (the map's own) or `half` ((S + 1)/2 with 1 the identity, as attention rollout has it: Abnar and
    Zuidema, arXiv 2005.00928); `own_share` says in words what that comes to under this result's baseline.
    """

    head: Head
    map: FlowMap
    normalised_by: Normalisation
    self_term: SelfTerm
    layers: Sequence[LayerShares]

    @classmethod
    def of(
        cls,
        result: Result | Mapping[str, Any],
        map: FlowMap = "layer",
        *,
        normalised_by: Normalisation = "total",
        self_term: SelfTerm = "map",
        layers: Sequence[int] | None = None,
    ) -> Self:
        """The flow through a result, or through what `explain` returned.

        Raises InvalidRequest where the result lacks the map, or some targets, or has gaps between its layers.
        """
        whole = result if isinstance(result, Result) else as_result(result)
        indices = sorted(whole.indices if layers is None else layers)
        if missing := [index for index in indices if index not in whole.indices]:
            raise InvalidRequest(f"layer {missing[0]} is not in the result, which has {sorted(whole.indices)}")
        if not indices:
            raise InvalidRequest("the result has no layers to chain")
        if indices != list(range(indices[0], indices[-1] + 1)):
            raise InvalidRequest(f"layers {indices} do not follow on one another; a flow needs all between its ends")
        baseline = _baseline(whole.head, map)
        count = len(whole.head["tokens"])
        held = [
            _layer_shares(whole.load(index), map, count, normalised_by, self_term, own=baseline != ITB)
            for index in indices
        ]
        return cls(whole.head, map, normalised_by, self_term, held)

    @property
    def baseline(self) -> str:
        """The baseline that the map's paths start from."""
        return _baseline(self.head, self.map)

    @property
    def own_share(self) -> str:
        """What a token's own share is, in words."""
        return HALF if self.self_term == "half" else SELF_TERMS[self.baseline]

    def rollout(self) -> Array:
        """R_l = S_first · … · S_l for each layer l: [layer, source, target] in float64.

        R_l[i, j] sums the products of shares over all paths from token i before the first layer to token j after layer
        l. Raises InvalidRequest for more than one layer of an ITB map: no token would keep anything of itself.
        """
        if len(self.layers) > 1 and self.self_term == "map" and self.baseline == ITB:
            baseline = "baseline_layer" if self.map == "layer" else "baseline_att"
            raise InvalidRequest(
                f"under {ITB} a token's own share is 0 by definition, so that nothing could pass a layer unchanged; "
                f"explain with {baseline} itb_zero_ratio or zero, or take self_term half"
            )
        product, products = None, []
        for layer in self.layers:
            product = layer.shares if product is None else product @ layer.shares
            products.append(product)
        return np.stack(products)

    def paths(self, *, source: int | None = None, target: int | None = None, top: int = 10) -> list[Path]:
        """The `top` paths whose product of shares is largest in absolute value, strongest first.

        source: the token before the first layer; target: the one after the last; None: any. A path has no certificate;
        each of its steps has that of its column. Paths of product 0 are none.
        """
        for token in (source, target):
            if token is not None and not 0 <= token < len(self.head["tokens"]):
                raise InvalidRequest(
                    f"token {token} asked, but the text has tokens 0 to {len(self.head['tokens']) - 1}"
                )
        trails = strongest([layer.shares[None] for layer in self.layers], source=source, target=target, top=top)
        return [Path(trail.score, tuple(self._steps(trail))) for trail in trails]

    def _steps(self, trail: Trail) -> list[Step]:
        steps = zip(self.layers, trail.tokens, trail.tokens[1:], strict=False)
        return [
            Step(
                layer=one.layer,
                source=i,
                target=j,
                share=float(one.shares[i, j]),
                value=float(one.values[i, j]),
                certified=bool(one.converged[j]),
                status=one.status[j],
            )
            for one, i, j in steps
        ]

    @cached_property
    def labels(self) -> list[str]:
        """The readable labels of the tokens."""
        return list(self.head["token_labels"])


def as_result(document: Mapping[str, Any]) -> Result:
    """What `explain` returned, as arrays."""
    head, layers = from_document(document)
    return Result.of(head, layers)


def require_whole(layer: LayerArrays, tensor: str, count: int) -> None:
    """Raise InvalidRequest unless the layer holds the tensor for every token."""
    if tensor not in layer:
        raise InvalidRequest(f"layer {layer.index} of the result lacks {tensor}; explain with the granularity it needs")
    if layer.targets != list(range(count)):
        raise InvalidRequest("the result holds some targets alone; explain without target_tokens to follow flow")


def columns_of_shares(values: Array, totals: Array) -> Array:
    """values [.., source, target] over totals [.., target]; 0 where a total is 0."""
    still = totals == 0
    return np.where(still[..., None, :], 0.0, values / np.where(still, 1.0, totals)[..., None, :])


def _baseline(head: Head, map: FlowMap) -> str:
    name: str = head["config"]["baseline_layer" if map == "layer" else "baseline_att"]
    return name


def _layer_shares(
    layer: LayerArrays, map: FlowMap, count: int, normalised_by: Normalisation, self_term: SelfTerm, *, own: bool
) -> LayerShares:
    tensor = TENSORS[map]
    require_whole(layer, tensor, count)
    values = layer[tensor].astype(np.float64)
    if map == "conserving" and (unknown := np.flatnonzero(np.isnan(values).any(0))).size:
        raise InvalidRequest(
            f"of token {unknown[0]} layer {layer.index} has no conserving column, for its shares are not known; follow "
            "product or layer"
        )
    if normalised_by == "absolute":
        values_shared, totals = np.abs(values), np.abs(values).sum(0)
    else:
        values_shared, totals = values, layer[f"{tensor}.total"] if map == "layer" else values.sum(0)
    shares = columns_of_shares(values_shared, totals)
    if own:
        still = np.flatnonzero(totals == 0)
        shares[still, still] = 1.0
    if self_term == "half":
        shares = (shares + np.eye(count)) / 2
    status: tuple[str | None, ...] = (None,) * count
    if map == "layer":
        status = tuple(STATUSES[code] for code in layer[f"{tensor}.status"])
    converged = layer["composed.converged" if map != "layer" else f"{tensor}.converged"]
    return LayerShares(layer.index, shares, values, converged, status)
