"""GET /models: what can be explained here without a download, and where a model's nodes sit."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from lig_core.boundaries import from_config
from lig_core.catalog import find_model, installed_models
from lig_core.errors import ModelNotFound
from service.errors import UnknownModel
from service.model_names import allowed, refuse_others, refuse_paths
from service.problems import responses
from service.settings import Settings

EXAMPLE: dict[str, Any] = {"id": "minilm", "model_type": "bert", "num_layers": 6, "num_heads": 12}
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


class ModelList(BaseModel):
    """The models that need no download. Any other Hugging Face id that is allowed may be sent as well."""

    model_config = ConfigDict(json_schema_extra={"example": {"models": [EXAMPLE], "allowed": None}})

    models: list[ModelSummary]
    allowed: list[str] | None = Field(description="Ids and patterns such as `google-bert/*`; null: any model.")


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


def router(settings: Settings) -> APIRouter:
    """The routes that describe models; nothing is loaded."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models", summary="Models that need no download")
    def models() -> ModelList:
        """The bundled models that are installed, and those in the models folder."""
        patterns = settings.allowed_models
        cards = [card for card in installed_models(settings.models_folder) if allowed(card.name, patterns)]
        return ModelList(
            models=[
                ModelSummary(id=c.name, model_type=c.model_type, num_layers=c.num_layers, num_heads=c.num_heads)
                for c in cards
            ],
            allowed=patterns,
        )

    @routes.get(
        "/models/{model:path}/boundaries",
        summary="Where a model's nodes sit",
        response_model=ModelBoundaries,
        responses=responses("not_found", "invalid_request", "unknown_model", "model_not_allowed"),
    )
    def boundaries(model: Model) -> dict[str, Any]:
        """Answers from the config: in the models folder, in the local cache of the Hugging Face hub, or on the hub."""
        refuse_paths(model, "/path/model")
        refuse_others(model, settings.allowed_models, "/path/model")
        try:
            card = find_model(model, settings.models_folder, ask_hub=settings.ask_hub)
        except ModelNotFound as error:
            raise UnknownModel(error.detail) from error
        if not card.config:
            raise UnknownModel(f"the config of '{model}' is not here; explain a text with the model first")
        return {**from_config(card), "model": model}

    return routes
