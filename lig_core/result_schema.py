"""The result of an explanation, as JSON has it: what every side agrees on. Imports no torch.

Keys equal those of the authors' library (layer-wise-integrated-gradients 0.1.0) wherever it has them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lig_core.contract import MapName


class Certificate(BaseModel):
    """The evidence of how far each target's column can be trusted.

    `total` is L_j(1) = ‖F_j(z) − F_j(z⁰)‖₂; the contributions of a column sum to it up to `completeness_error`
    (relative to the total, or to a thousandth of the largest value the path met if that is more). `entry_error`
    estimates, to a factor of about 3, how far the entries themselves are off: Σ_i |error of entry i| relative to
    Σ_i |entry i|; null for a fixed rule, which makes no estimate. Both are about the integral of this block at this z:
    how far rounding of z itself moves a column is not in them. `status` is ok, zero_path (neither L nor any
    contribution moves by more than rounding does: all are 0), noise_limited (rounding alone hides whether it met
    `rtol`), discontinuous, budget, or fixed (a fixed rule, judged by the same tolerance, not refined). `converged`: the
    error is within `rtol`, that of the entries within three times as much; or rounding alone may have made it, and all
    that rounding can make in this column is within `rtol` of the largest total among the map's columns that were asked
    for. Entries of targets that were not asked for are null.
    """

    total: list[float | None]
    completeness_error: list[float | None]
    entry_error: list[float | None] | None = None
    nodes: list[int | None]
    converged: list[bool | None]
    status: list[str | None]
    in_float64: list[bool | None] | None = Field(
        None,
        description="The columns that were integrated again in float64, because rounding in float32 would have spoilt "
        "them; not there where none were. In z2u and u2z it stands with each column of such a map.",
    )
    all_converged: bool
    rtol: float = Field(description="The relative tolerance that `converged` is judged by.")
    quadrature: str
    engine: str


class TopEntry(BaseModel):
    """One of a column's largest contributions; in u→z' it comes from a dimension of u."""

    target: int
    source: int | None = None
    dimension: int | None = None
    value: float | None


class TokenMap(BaseModel):
    """A token-to-token map: `matrix[source][target]`; columns that were not asked for are null.

    Where only the largest contributions were selected, `top` stands in place of `shape` and `matrix` (and, in
    `targets`, of `contributions`): the targets one after the other, each one's largest first.
    """

    baseline: str
    description: str
    shape: list[int] | None = None
    matrix: list[list[float | None]] | None = None
    top: list[TopEntry] | None = None
    certificate: Certificate
    token_to_token: list[dict[str, Any]] | None = None
    zero_self: bool | None = Field(
        None,
        description="Whether a token's contribution to itself is 0 by definition of the baseline, as it is of "
        "`self_input_token`: no measured value, then. The same stands in z2u and in `composed`.",
    )


class LayerResult(BaseModel):
    """The maps of one layer, and what its mask leaves to be seen.

    `z2z` is the layer map; `targets` holds z2u and u2z per target token.
    """

    layer_idx: int
    replay_error: float | None = Field(
        None,
        description="How far a replay of the block at z was from the model's own output, before anything was "
        "attributed: the largest difference, relative to the largest output.",
    )
    visible: list[tuple[int, int] | None] | None = Field(
        None,
        description="The first and the last source that each target sees: what lies outside is masked, and its "
        "entries in the maps from z are 0 because of that. Null for targets that were not asked for; not there where "
        "each target sees every source, or where it is not known.",
    )
    z2z: TokenMap | None = None
    composed: dict[str, Any] | None = None
    targets: dict[str, dict[str, Any]] | None = None


Receipt = Annotated[
    dict[str, Any],
    Field(
        description="What the result was made of and with: `request`, the request's digest; `model`; `revision`, the "
        "commit of a model from the hub, or the version of a bundled model's package (and of its conversion), null for "
        "a folder; `files`, for a folder: SHA-256 over the names and contents of the files that were read; "
        "`checkpoint_dtype`, what its weights are stored as; `dequantised`, a quantisation that was written out in "
        "full; `tokenizer`; `dtype`, what all was computed in; `device`; `versions`."
    ),
]


class Unconverged(BaseModel):
    """The number of columns of one map of one layer that did not converge."""

    layer: int
    map: MapName
    columns: int


class MeasuredSentence(BaseModel):
    """A sentence that was measured; `relations` and `head_distances` are null where they are not known."""

    place: int = Field(description="Its place among the sentences that were sent, from 0.")
    text: str
    tokens: list[str] = Field(description="What its columns are about: tokens, or words.")
    relations: list[str | None]
    head_distances: list[int | None] = Field(description="Words to the head of each.")


class LeftOut(BaseModel):
    """A sentence that was not measured."""

    place: int
    why: str


class PairsOfLayer(BaseModel):
    """One layer: each is [column][pair]. Columns are those of the first sentence, then of the second, and so on; pairs
    are in the order of `config.pairs`.
    """

    quadrature: str
    distance: list[list[float]] = Field(description="‖LAYER[:, j] − COMPOSED[:, j]‖₂.")
    norm: list[list[float]] = Field(description="‖LAYER[:, j]‖₂.")
    pearson: list[list[float | None]] = Field(description="Correlation of the two; null where it is not defined.")
    converged: list[list[bool]]
    still: list[list[bool]] = Field(description="The layer map's column is 0 throughout.")
    close: list[list[bool]] = Field(description="The two columns are equal up to rounding.")


class MissedPairs(BaseModel):
    """The number of columns and pairs of one layer that did not converge."""

    layer: int
    map: Literal["pairs"]
    columns: int


class ExperimentResult(BaseModel):
    """The answer to an ExperimentRequest."""

    model: str
    model_type: str
    config: dict[str, Any]
    sentences: list[MeasuredSentence]
    left_out: list[LeftOut]
    layers: dict[str, PairsOfLayer]
    converged: bool
    columns: dict[str, int] = Field(description="Empty: columns of pairs have no statuses of their own.")
    unconverged: list[MissedPairs]
    receipt: Receipt


class ExplainResult(BaseModel):
    """The answer to an ExplainRequest, as stored and served."""

    model_config = ConfigDict(extra="allow")

    text: str = Field(description="Where tokens were sent: what they read, put together, special ones included.")
    tokens: list[str]
    token_labels: list[str] = Field(description="Tokens as people write them.")
    offsets: list[tuple[int, int]] | None = Field(
        description="Each token's first character in `text` and the one after its last; null: not known."
    )
    words: list[int] = Field(description="The word that each token is part of.")
    model: str
    model_type: str
    architecture: str | None = Field(None, description="`encoder`, `decoder` or `unknown`; null: an earlier version's.")
    config: dict[str, Any]
    boundaries: dict[str, Any]
    layers: dict[str, LayerResult]
    converged: bool = Field(description="Whether every column of every map converged, as its certificate says.")
    columns: dict[str, int] = Field(
        description="How many columns ended with each status. A column is one target of one map, in `att` of one head; "
        "`composed`, made of the others, has none of its own."
    )
    unconverged: list[Unconverged] = Field(description="Where columns did not converge; empty where `converged`.")
    receipt: Receipt
