"""The request of an explanation: what every side agrees on. Imports no torch.

Names and defaults equal those of the authors' library (layer-wise-integrated-gradients
0.1.0) wherever it has them; what is new is optional.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from lig_core.errors import FieldError, InvalidRequest

MAX_TEXT_CHARACTERS = 100_000
"""Longest text accepted before tokenisation, in characters; of tokens, all together."""

MapName = Literal["att", "mlp", "layer", "composed"]
GranularityName = Literal["att", "mlp", "layer", "composed", "all"]
AttBaseline = Literal["zero", "self_input_token", "itb_zero_ratio", "itb_map_ratio"]
MlpBaseline = Literal["zero", "att_itb_a0"]
Norms = Literal["post", "pre", "sandwich", "reordered", "parallel", "none"]
"""The places of the norms of a block: see `lig_core.models.families.Family`."""
LayerBaseline = Literal["zero", "self_input_token", "itb_zero_ratio"]
Index = Annotated[int, Field(ge=0, strict=True)]
TEXT_OR_TOKENS: dict[str, Any] = {
    "if": {"required": ["tokens"], "properties": {"tokens": {"type": "array", "items": {"type": "string"}}}},
    "then": {"properties": {"text": {"type": "null"}}},
    "else": {"required": ["text"], "properties": {"text": {"type": "string"}}},
}
"""One of the two, in JSON Schema; not as oneOf, of which generators of clients make a type for each."""
LOOSEST_RTOL = 2e-3
"""The tolerance that the adaptive quadrature integrates to where more is allowed."""
MOST_NAME = 200
"""Characters of a model's name."""
MOST_QUOTED = 60
"""Characters of a refused value that are repeated; a longer one is not."""
ALL_MAPS: tuple[MapName, ...] = ("att", "mlp", "layer", "composed")
OWN = {"text", "tokens", "target_tokens", "target_head", "labels", "merge_subwords", "on_unconverged", "priority"}
"""Fields in which requests whose texts share a sequence may differ."""
MOST_PACKED = 256
"""Tokens of one sequence that texts share: attention is computed between all of them, and most of it is masked."""
BLANK_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}
"""Controls, format characters such as joiners and marks of direction, surrogates, separators."""
BLANK_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Further blank characters: the rest of Unicode's Default_Ignorable_Code_Point, and the braille pattern of no dots."""


class JobRequest(Protocol):
    """What requests of any kind of job have in common, as the queue and the models see them."""

    @property
    def kind(self) -> str:
        """The kind of job: `lig_core.kinds`."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def dtype(self) -> Literal["float32", "float64"]:
        """The model's precision."""

    @property
    def priority(self) -> Literal["interactive", "bulk"]:
        """Its share of the workers' time."""

    @property
    def subject(self) -> str | list[str]:
        """What it is about: a text, or its tokens."""

    @property
    def layers(self) -> list[int] | None:
        """The layers asked for; None: all."""

    @property
    def target_head(self) -> int | None:
        """The attention head asked for; None: every head."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical request."""

    def canonical(self) -> dict[str, Any]:
        """The options that the result depends on."""

    def named(self, model: str) -> Self:
        """The same of the model by another name."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """All fields as JSON data."""


class ExplainRequest(BaseModel):
    """One request: a text (or its tokens), a model, which maps of which layers, from which baselines.

    Unknown fields are refused. `num_steps` absent means adaptive quadrature to `rtol`; a number means that
    many Gauss-Legendre nodes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False, json_schema_extra=TEXT_OR_TOKENS)

    # Before `text`, which is checked last of the two and sees both.
    tokens: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MAX_TEXT_CHARACTERS,
        description="In place of `text`: the model's own tokens, special ones included, as `tokens` of a result by "
        "tokens has them. The model is given exactly these.",
        examples=[["[CLS]", "the", "cat", "[SEP]"]],
    )
    text: str | None = Field(
        None,
        validate_default=True,
        max_length=MAX_TEXT_CHARACTERS,
        description="The text to explain; at least one visible character.",
        examples=["The cat sat on the mat."],
        json_schema_extra={"minLength": 1},
    )
    model: str = Field(
        "bert-base-uncased",
        min_length=1,
        max_length=MOST_NAME,
        description="A Hugging Face id (or `id@revision`), a folder in the models folder, or a bundled one: `minilm` "
        "(an encoder), `smollm2` (a decoder).",
        examples=["minilm"],
    )
    num_steps: int | None = Field(
        None, ge=1, le=4096, strict=True, description="Gauss-Legendre nodes; absent: adaptive quadrature to `rtol`."
    )
    granularity: GranularityName | Annotated[list[GranularityName], Field(max_length=5)] = Field(
        "all",
        description="Which maps: att (z→u per head), mlp (u→z'), layer (z→z'), composed (att∘mlp), or all that the "
        "model has.",
    )
    baseline_att: AttBaseline = "self_input_token"
    baseline_mlp: MlpBaseline = "zero"
    baseline_layer: LayerBaseline = "self_input_token"
    layers: list[Index] | None = Field(None, min_length=1, description="Layer indices; absent: all.")
    target_tokens: list[Index] | None = Field(None, min_length=1, description="Target token indices; absent: all.")
    target_head: Index | None = Field(None, description="One attention head for `att`; absent: every head.")
    u_node: Literal["residual", "heads"] = Field(
        "residual",
        description="The u that `mlp` starts from: the stream after attention, or the concatenated head outputs.",
    )
    include_residual_connection: bool = Field(
        True,
        strict=True,
        description="Whether u reaches z' through the residual connection as well as through the MLP.",
    )
    rtol: float = Field(
        1e-3,
        ge=1e-8,
        le=0.1,
        strict=True,
        description="Relative tolerance of the adaptive quadrature, which integrates to 2e-3 at least.",
    )
    on_unconverged: Literal["warn", "fail", "ignore"] = Field(
        "warn",
        description="Where a column does not converge: `fail` with `not_converged`, or give all values with their "
        "certificates. With `warn` the Python library and client issue a NotConvergedWarning and the command writes a "
        "line to standard error; `ignore` does neither.",
    )
    dtype: Literal["float32", "float64"] = "float32"
    priority: Literal["interactive", "bulk"] = Field(
        "interactive",
        description="Bulk jobs get an eighth of the share that interactive ones get; those that ask alike of short "
        "texts are computed together, which changes the rounding of numbers and nothing else.",
    )
    labels: bool = Field(
        False, strict=True, description="Add `token_to_token`: every matrix again, entry by entry, with token names."
    )

    merge_subwords: bool = Field(
        False,
        strict=True,
        description="Answer by words: contributions of a word's tokens, and the totals of its targets, are summed.",
    )
    special_tokens: bool = Field(
        True,
        strict=True,
        description="Whether the tokenizer adds its special tokens to the text, such as [CLS], or a decoder's BOS.",
    )
    prefix_space: bool = Field(
        False,
        strict=True,
        description="Whether the text is read as after a space, so that its first word has the token that it has "
        "within a text; for byte-level vocabularies (GPT-2, RoBERTa), whose tokens begin with their spaces.",
    )

    @field_validator("tokens")
    @classmethod
    def _tokens_are_no_longer_than_a_text(cls, tokens: list[str] | None) -> list[str] | None:
        if tokens is not None and (length := sum(map(len, tokens))) > MAX_TEXT_CHARACTERS:
            raise ValueError(f"the tokens have {length} characters; send at most {MAX_TEXT_CHARACTERS}")
        return tokens

    @field_validator("text")
    @classmethod
    def _text_or_tokens(cls, text: str | None, info: ValidationInfo) -> str | None:
        tokens = info.data.get("tokens", [])  # none in `data`: they are at fault themselves
        if text is None and tokens is None:
            raise ValueError("nothing to explain; send a text, or its tokens")
        if text is not None and tokens:
            raise ValueError("both text and tokens are given; send one of them")
        if text is not None and is_blank(text):
            raise ValueError("the text is empty; send at least one visible character")
        return text

    @field_validator("granularity")
    @classmethod
    def _granularity_not_empty(cls, granularity: str | list[str]) -> str | list[str]:
        if not granularity:
            raise ValueError(f"name at least one of {', '.join(ALL_MAPS)}, or 'all'")
        return granularity

    @field_validator("layers", "target_tokens")
    @classmethod
    def _each_index_once(cls, indices: list[int] | None) -> list[int] | None:
        if indices is not None and len(set(indices)) != len(indices):
            raise ValueError("an index is named twice; send each index once")
        return indices

    @field_validator("include_residual_connection")
    @classmethod
    def _residual_is_there_to_cut(cls, include: bool, info: ValidationInfo) -> bool:
        if not include and info.data.get("u_node") == "heads":
            raise ValueError("false cuts the residual connection from u_node 'residual'; 'heads' has none to cut")
        return include

    @field_validator("special_tokens", "prefix_space")
    @classmethod
    def _tokens_are_taken_as_they_are(cls, value: bool, info: ValidationInfo) -> bool:
        if info.data.get("tokens") and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("it says how a text is read, and tokens are given; leave it out, or send the text")
        return value

    @property
    def kind(self) -> str:
        """The kind of job."""
        return "explain"

    @property
    def subject(self) -> str | list[str]:
        """The text that is explained, or the tokens that stand in its place."""
        return self.text if self.text is not None else self.tokens or []

    @property
    def maps(self) -> tuple[MapName, ...]:
        """The maps asked for, each once, in the order att, mlp, layer, composed."""
        return ALL_MAPS if self.takes_what_there_is else tuple(name for name in ALL_MAPS if name in self._named_maps)

    @property
    def takes_what_there_is(self) -> bool:
        """True if a map that the model lacks is left out, as of `all`; False if it is refused."""
        return "all" in self._named_maps

    @property
    def _named_maps(self) -> list[GranularityName]:
        return [self.granularity] if isinstance(self.granularity, str) else self.granularity

    @property
    def shared(self) -> str:
        """The rest of the request, as JSON: equal for requests whose texts may share a sequence."""
        return self.model_dump_json(exclude=OWN)

    def canonical(self) -> dict[str, Any]:
        """The options that the result depends on, as JSON data: equal for requests that ask the same in other words."""
        absent = "tokens" if self.tokens is None else "text"
        fields = self.model_dump(mode="json", exclude={"priority", absent})
        outcome = "fail" if self.on_unconverged == "fail" else "warn"  # warned or not, the result is the same
        maps = ["all"] if self.takes_what_there_is else list(self.maps)
        return {**fields, "granularity": maps, "on_unconverged": outcome}

    def named(self, model: str) -> ExplainRequest:
        """The same of the model by the one spelling of its name."""
        return self if model == self.model else self.model_copy(update={"model": model})

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the canonical request as JSON, its keys sorted, without spaces, in UTF-8."""
        document = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(document.encode()).hexdigest()


def parse_request(data: object) -> ExplainRequest:
    """Validate untrusted data as an ExplainRequest; raises InvalidRequest with one pointer per fault."""
    try:
        return ExplainRequest.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError, model: type[BaseModel] = ExplainRequest) -> InvalidRequest:
    """A pydantic error in the project's own words; `model` is what was read."""
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False):
        where = [str(part) for part in fault["loc"]]
        field = where[:1] if fault["type"] != "extra_forbidden" else where
        pointer = "".join(f"/{_escaped(part)}" for part in (field if _is_union(where) else where))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"unknown field; known are {', '.join(model.model_fields)}"
        elif fault["type"] not in ("missing", "value_error"):
            message += _quoted(fault["input"])
        faults.setdefault(pointer, message)
    errors = [FieldError(pointer, message) for pointer, message in faults.items()]
    return InvalidRequest("; ".join(f"{e.pointer.lstrip('/') or 'request'}: {e.detail}" for e in errors), errors=errors)


def _quoted(value: object) -> str:
    """The end of a refusal that repeats what was sent, where that is one short value."""
    short = isinstance(value, str | int | float | None) and len(repr(value)) <= MOST_QUOTED
    return f"; got {value!r}" if short else ""


def _escaped(part: str) -> str:
    """A part of a JSON pointer (RFC 6901)."""
    return part.replace("~", "~0").replace("/", "~1")


def _is_union(where: list[str]) -> bool:
    return len(where) > 1 and where[0] == "granularity"


class Progress(BaseModel):
    """Progress of an explanation: `done` of `total` units in the named phase."""

    model_config = ConfigDict(frozen=True)

    phase: Literal["queued", "loading", "computing", "storing", "done"]
    done: int
    total: int
    unit: str = "maps"


def is_blank(text: str) -> bool:
    """True if no character of a text is visible; a mark that combines with one before it is."""
    return all(
        unicodedata.category(character) in BLANK_CATEGORIES or BLANK_LETTERS.match(character) for character in text
    )
