"""GET /models: what can be explained here without a download, and where a model's nodes sit."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from lig_core.contract import MAX_TEXT_CHARACTERS
from lig_core.errors import ModelNotFound, UnsupportedModel
from lig_core.models.boundaries import from_config
from lig_core.models.catalog import ModelCard, installed_models
from service.http.errors import UnknownModel
from service.http.problems import responses
from service.settings import Settings
from service.submit.known_models import KnownModels, allowed

EXAMPLE: dict[str, Any] = {
    "id": "minilm",
    "model_type": "bert",
    "num_layers": 6,
    "num_heads": 12,
    "positions": 512,
    "supported_granularity": ["att", "composed", "layer", "mlp"],
    "refusal": None,
}
EXAMPLE_LIMITS: dict[str, Any] = {
    "text_characters": 100_000,
    "body_bytes": 262_144,
    "result_json_bytes": 536_870_912,
    "embedded_result_json_bytes": 262_144,
    "batch_texts": 256,
    "wait_seconds": 60.0,
    "run_seconds": 3600,
    "result_kept_seconds": 86_400,
}
INPUT, STREAM = "the block's input", "the stream after attention: output of the norm that follows z + attention(z)"
HEADS, OUTPUT = "the concatenated head outputs, before the output projection", "the block's output, input of the next"
EXAMPLE_BOUNDARIES: dict[str, Any] = {
    "model": "minilm",
    "model_type": "bert",
    "layout": "post_ln_encoder",
    "architecture": "encoder",
    "num_layers": 6,
    "supported_granularity": ["att", "composed", "layer", "mlp"],
    "nodes": {"z": INPUT, "u": STREAM, "z_next": OUTPUT},
    "u_nodes": {"residual": STREAM, "heads": HEADS},
    "hook_points": {"att_input": INPUT, "att_core": "softmax attention, per head", "att_output": HEADS},
    "detection": "config: model_type bert",
    "notes": ["engine: factored; attention: through the attention interface"],
}

Model = Annotated[str, Path(description="As in `model` of a request.", examples=["minilm"])]


class ModelSummary(BaseModel):
    """A model, by what its config says."""

    id: str = Field(description="What to send as `model`.")
    model_type: str
    num_layers: int | None
    num_heads: int | None
    positions: int | None = Field(description="Tokens that it has room for, special ones included; null: not said.")
    supported_granularity: list[str] = Field(description="The maps that it has.")
    refusal: str | None = Field(description="Why it cannot be explained, where its config or files show it.")

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        """The summary of a card."""
        try:
            supported, refusal = from_config(card)["supported_granularity"], None
        except UnsupportedModel as error:
            supported, refusal = [], error.detail
        return cls(
            id=card.name,
            model_type=card.model_type,
            num_layers=card.num_layers,
            num_heads=card.num_heads,
            positions=card.positions,
            supported_granularity=supported,
            refusal=refusal,
        )


class Limits(BaseModel):
    """How much may be asked for here."""

    text_characters: int
    body_bytes: int
    result_json_bytes: int = Field(description="By the estimate of `POST /v1/explain/estimate`.")
    embedded_result_json_bytes: int = Field(description="A larger result is not in the answer about its job.")
    batch_texts: int
    wait_seconds: float = Field(description="Longest `wait`.")
    run_seconds: int = Field(description="Longest run of a job.")
    result_kept_seconds: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that the settings set."""
        return cls(
            text_characters=MAX_TEXT_CHARACTERS,
            body_bytes=settings.max_body_bytes,
            result_json_bytes=settings.max_result_bytes,
            embedded_result_json_bytes=settings.max_embedded_result_bytes,
            batch_texts=settings.max_batch,
            wait_seconds=settings.max_wait,
            run_seconds=settings.job_timeout,
            result_kept_seconds=settings.result_ttl,
        )


class ModelList(BaseModel):
    """The models that need no download. Any other Hugging Face id that is allowed may be sent as well."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"models": [EXAMPLE], "allowed": None, "limits": EXAMPLE_LIMITS}}
    )

    models: list[ModelSummary]
    allowed: list[str] | None = Field(description="Ids and patterns such as `google-bert/*`; null: any model.")
    limits: Limits


class ModelBoundaries(BaseModel):
    """Where z, u and z' sit in a model's blocks, and which maps it supports, from its config alone."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_BOUNDARIES})

    model: str
    model_type: str
    layout: str = Field(description="Such as `post_ln_encoder`; `unknown` for a family that is not in the table.")
    architecture: str
    num_layers: int | None
    supported_granularity: list[str]
    nodes: dict[str, str | None]
    u_nodes: dict[str, str | None]
    hook_points: dict[str, str | None]
    detection: str
    notes: list[str]


def router(settings: Settings, known: KnownModels) -> APIRouter:
    """The routes that describe models; nothing is loaded."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models", summary="Models that need no download")
    def models() -> ModelList:
        """The bundled models that are installed, and those in the models folder; and how much may be asked for."""
        patterns = settings.allowed_models
        cards = [card for card in installed_models(settings.models_folder) if allowed(card.name, patterns)]
        return ModelList(models=[ModelSummary.of(card) for card in cards], allowed=patterns, limits=Limits.of(settings))

    @routes.get(
        "/models/{model:path}/boundaries",
        summary="Where a model's nodes sit",
        response_model=ModelBoundaries,
        responses=responses("not_found", "invalid_request", "unknown_model", "unsupported_model", "model_not_allowed"),
    )
    def boundaries(model: Model) -> dict[str, Any]:
        """Answers from the config: in the models folder, in the local cache of the Hugging Face hub, or on the hub."""
        try:
            card = known.card(model, "/path/model")
        except ModelNotFound as error:
            raise UnknownModel(error.detail) from error
        if not card.config:
            raise UnknownModel(f"the config of '{card.name}' is not here; explain a text with the model first")
        return {**from_config(card), "model": card.name}

    return routes
