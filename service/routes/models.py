"""GET /models: what can be explained here without a download, and where a model's nodes sit."""

from __future__ import annotations

from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from lig_core.contract import MAX_TEXT_CHARACTERS
from lig_core.errors import ModelNotFound, UnsupportedModel
from lig_core.models.boundaries import from_config
from lig_core.models.catalog import ModelCard, installed_models
from service.http.errors import UnknownModel
from service.http.problems import responses
from service.openapi.examples import EXAMPLES
from service.openapi.words import Model
from service.settings import Settings
from service.submit.known_models import KnownModels, allowed


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
    """The limits on what may be asked for here."""

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
        json_schema_extra={"example": {"models": [EXAMPLES["model"]], "allowed": None, "limits": EXAMPLES["limits"]}}
    )

    models: list[ModelSummary]
    allowed: list[str] | None = Field(description="Ids and patterns such as `google-bert/*`; null: any model.")
    limits: Limits


class ModelBoundaries(BaseModel):
    """The places of z, u and z' in a model's blocks, and the maps that it supports, from its config alone."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLES["boundaries"]})

    model: str
    model_type: str
    layout: str = Field(description="Such as `post_ln_encoder`; `unknown` for a family that is not in the table.")
    architecture: str
    num_layers: int | None
    supported_granularity: list[str]
    ig_ready: bool = Field(description="Whether it is known to have a map that can be computed.")
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
