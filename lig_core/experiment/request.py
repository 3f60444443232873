"""A pack of sentences to measure: what a service is asked for. Imports no torch."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lig_core.contract import MAX_TEXT_CHARACTERS, MOST_NAME, Index, invalid_request, is_blank
from lig_core.errors import InvalidRequest
from lig_core.experiment.corpora import Sentence, of_words, tree_fault
from lig_core.experiment.pairs import Pair, chosen

MOST_SENTENCES = 16
"""Of one pack: so many share what is around the arithmetic, and no more is lost with a worker."""
MOST_TOKENS = 128
"""Of a sentence, as in the paper."""

_NONE = {"type": "null"}
TEXT_OR_WORDS: dict[str, Any] = {
    "if": {"required": ["words"], "properties": {"words": {"type": "array", "items": {"type": "string"}}}},
    "then": {"properties": {"text": _NONE}},
    "else": {
        "required": ["text"],
        "properties": {"text": {"type": "string"}, "heads": _NONE, "relations": _NONE},
    },
}
"""One of the two, as `lig_core.contract.TEXT_OR_TOKENS`."""


class PackSentence(BaseModel):
    """A sentence: a text, or words, with heads and relations where they are known. A text of words has spaces between.

    Heads are 1-based places in `words`; 0 is the root.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=TEXT_OR_WORDS)

    text: str | None = Field(None, min_length=1, max_length=MAX_TEXT_CHARACTERS, examples=["The cat sat."])
    words: list[str] | None = Field(None, min_length=1, max_length=MAX_TEXT_CHARACTERS, examples=[["Dogs", "bark"]])
    heads: list[Index] | None = Field(None, examples=[[2, 0]])
    relations: list[str] | None = Field(None, examples=[["nsubj", "root"]])

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.words is None):
            raise ValueError("send one of `text` and `words`")
        if self.text is not None and (self.heads or self.relations):
            raise ValueError("heads and relations are of words; send `words` in place of `text`")
        sentence = self.numbered(0)
        if is_blank(sentence.text):
            raise ValueError("the sentence is empty; send at least one visible character")
        if len(sentence.text) > MAX_TEXT_CHARACTERS:
            raise ValueError(f"the words have {len(sentence.text)} characters; send at most {MAX_TEXT_CHARACTERS}")
        if not all(self.words or ["x"]):
            raise ValueError("a word is empty; leave it out")
        if (self.heads is None) != (self.relations is None):
            raise ValueError("has one of `heads` and `relations`; send both or neither")
        if fault := tree_fault(sentence):
            raise ValueError(fault)
        return self

    @classmethod
    def of(cls, sentence: Sentence) -> Self:
        """A sentence of a corpus."""
        if sentence.words is None:
            return cls(text=sentence.text)
        heads, relations = sentence.heads, sentence.relations
        return cls(
            words=list(sentence.words),
            heads=None if heads is None else list(heads),
            relations=None if relations is None else list(relations),
        )

    def numbered(self, number: int) -> Sentence:
        """The same as a sentence of a corpus."""
        if self.words is None:
            return Sentence(number, self.text or "")
        return Sentence(number, **of_words(self.words, self.heads, self.relations))


class ExperimentRequest(BaseModel):
    """Some sentences of a corpus, measured together: of each layer and target, how far each pair's composed map is from
    its layer map.

    Unknown fields are refused. The adaptive quadrature integrates to `rtol`, in float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentences: list[PackSentence] = Field(
        min_length=1, max_length=MOST_SENTENCES, description="Measured together, and what is measured hangs on that."
    )
    model: str = Field(
        "bert-base-uncased",
        min_length=1,
        max_length=MOST_NAME,
        description="As in an ExplainRequest.",
        examples=["minilm"],
    )
    pairs: list[str] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Keys of pairs of baselines, or groups: itb, itb_zero_ratio, zero; absent: all 24.",
        examples=[["itb"]],
    )
    layers: list[Index] | None = Field(None, min_length=1, description="Layer indices; absent: all.")
    words: bool = Field(False, strict=True, description="Compare words: subwords are summed on both sides.")
    most_tokens: int = Field(
        MOST_TOKENS, ge=1, le=4096, strict=True, description="Longer sentences are left out, and told in `left_out`."
    )
    rtol: float = Field(1e-3, ge=1e-8, le=0.1, strict=True, description="Relative tolerance of the quadrature.")
    priority: Literal["interactive", "bulk"] = Field(
        "bulk", description="Bulk jobs get an eighth of the share that interactive ones get. Changes no number."
    )

    @field_validator("pairs")
    @classmethod
    def _known_pairs(cls, keys: list[str] | None) -> list[str] | None:
        try:
            chosen(keys)
        except InvalidRequest as error:
            raise ValueError(error.detail) from None
        return keys

    @field_validator("layers")
    @classmethod
    def _each_layer_once(cls, layers: list[int] | None) -> list[int] | None:
        if layers is not None and len(set(layers)) != len(layers):
            raise ValueError("an index is named twice; send each index once")
        return layers

    @property
    def chosen_pairs(self) -> tuple[Pair, ...]:
        """The pairs asked for, each once, in their order."""
        return chosen(self.pairs)

    @property
    def kind(self) -> str:
        """The kind of job."""
        return "experiment"

    @property
    def target_head(self) -> None:
        """Every head takes part."""
        return None

    @property
    def dtype(self) -> Literal["float32"]:
        """The precision of the model."""
        return "float32"

    @property
    def subject(self) -> str:
        """The sentences, one after the other."""
        return " ".join(one.numbered(0).text for one in self.sentences)

    def canonical(self) -> dict[str, Any]:
        """The options that the result depends on, as JSON data: equal for requests that ask the same in other words."""
        fields = self.model_dump(mode="json", exclude={"priority"})
        layers = None if self.layers is None else sorted(self.layers)
        return {**fields, "pairs": [pair.key for pair in self.chosen_pairs], "layers": layers}

    def named(self, model: str) -> ExperimentRequest:
        """The same of the model by the one spelling of its name."""
        return self if model == self.model else self.model_copy(update={"model": model})

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the canonical request as JSON, its keys sorted, without spaces, in UTF-8."""
        document = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return sha256(document.encode()).hexdigest()


def parse_experiment(data: object) -> ExperimentRequest:
    """Validate untrusted data as an ExperimentRequest; raises InvalidRequest with one pointer per fault."""
    try:
        return ExperimentRequest.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error, ExperimentRequest) from None
