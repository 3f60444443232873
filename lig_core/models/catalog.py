"""Model cards: where a name leads, and what the config there says. Imports no torch and reads no weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lig_core.contract import JobRequest
from lig_core.errors import FieldError, InvalidRequest, ModelNotFound
from lig_core.models.architectures import Sizes
from lig_core.models.bundled.packages import BUNDLED, bundled_files, bundled_folder, bundled_place
from lig_core.models.references import (
    COMMIT,
    ModelReference,
    folder_inside,
    is_revision,
    resolve,
    resolve_here,
)

HUB_SECONDS = 5.0
READ = (".json", ".txt", ".model", ".spm", ".codes", ".tokenizer", ".tiktoken", ".jinja")
"""Endings of the names of configs and of tokenizers' files."""
ADAPTER = "adapter_model.safetensors"
LOADED = [*(f"*{ending}" for ending in READ), "model*.safetensors", ADAPTER]
"""Of a hub model's files, those that loading reads."""


@dataclass(frozen=True)
class ModelCard:
    """A model as it is known before its weights are loaded."""

    name: str  # the one spelling of it, with the revision that was asked for
    source: str  # a folder, as an absolute path; a Hugging Face id; or nothing, where only other hosts have it
    revision: str | None  # to read of the hub's, None: the main branch
    config: Mapping[str, Any]

    @cached_property
    def folder(self) -> Path | None:
        """The folder of its files; None for the hub's, which lie in the local cache, and for what is not here."""
        return folder if (folder := Path(self.source)).is_absolute() else None

    @property
    def is_hub(self) -> bool:
        """True if its files are the hub's."""
        return bool(self.source) and self.folder is None

    @property
    def is_bundled(self) -> bool:
        """True if it comes as a Python package; nothing else has such a name."""
        return self.name in BUNDLED

    @property
    def model_type(self) -> str:
        """The family name that Hugging Face gives the architecture, such as `bert`."""
        return str(self.config.get("model_type", "unknown"))

    @cached_property
    def sizes(self) -> Sizes:
        """The sizes that the config gives."""
        return Sizes.of(self.config)

    @property
    def num_layers(self) -> int | None:
        """Number of transformer blocks, where the config says so."""
        return self.sizes.layers

    @property
    def num_heads(self) -> int | None:
        """Number of attention heads (query heads), where the config says so."""
        return self.sizes.heads

    @property
    def positions(self) -> int | None:
        """Tokens that the model has room for, special ones included, where the config says so.

        A loaded model is asked itself (`lig_core.loading.loaded.max_tokens`), and its tokenizer may allow fewer.
        """
        return self.sizes.positions

    @property
    def vocabulary(self) -> int | None:
        """Rows of the embedding of tokens, where the config says so: ids of tokens are below it."""
        return self.sizes.rows


def find_model(name: str, *, ask_hub: bool = False) -> ModelCard:
    """The card of what a name given on this machine means: see `references.resolve_here` and `read_card`."""
    return read_card(resolve_here(name), ask_hub=ask_hub)


def read_card(
    reference: ModelReference, models_folder: Path | None = None, *, commit: str | None = None, ask_hub: bool = False
) -> ModelCard:
    """The card of a bundled model, a folder, or a hub model at its revision, or at a commit of that.

    The config of a hub model comes from the local cache, or with `ask_hub` from the hub; otherwise it is empty,
    and loading may still succeed. Raises ModelNotFound for a bundled model that is not installed, a folder that is
    not there or is without config.json, and with `ask_hub` for a model that cannot be had.
    """
    name = str(reference)
    if reference.kind == "bundled":
        return _folder_card(name, bundled_folder(name))
    if reference.kind == "folder":
        return _folder_card(name, _folder(reference, models_folder))
    if commit is not None and not is_revision(commit):
        raise ModelNotFound(f"model '{name}' has no commit {commit!r}; send the request again")
    revision = commit or reference.revision
    card = ModelCard(name, reference.name, revision, _cached_config(reference.name, revision))
    return ask_the_hub(card) if ask_hub and not card.config else card


def ask_the_hub(card: ModelCard) -> ModelCard:
    """The card of a hub model with the config that the hub has now, which is in the local cache then.

    Raises ModelNotFound where that cannot be had.
    """
    return replace(card, config=_hub_config(card))


def hub_has(card: ModelCard) -> bool:
    """True if the Hugging Face hub can be asked for a model's files; False where it cannot be reached.

    One quick question, for the hub's own loaders retry for minutes. Raises ModelNotFound when the hub answers
    that it has no such model.
    """
    if not card.is_hub or constants.HF_HUB_OFFLINE:
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


def files_here(card: ModelCard) -> Path:
    """The folder of a model's files; first, if need be, a hub model's are downloaded and a bundled one's converted.

    Raises ModelNotFound where they are neither here nor to be had, OSError or ValueError where the hub's download
    fails, and UnsupportedModel for a bundled one's.
    """
    if card.is_bundled:
        return bundled_files(card.name)
    # Loaders are given a folder, never an id: they would take a folder of that name under the working directory.
    if card.folder is not None:
        return card.folder
    here = not hub_has(card)
    try:
        folder = snapshot_download(card.source, revision=card.revision, allow_patterns=LOADED, local_files_only=here)
    except LocalEntryNotFoundError as error:
        raise _nowhere(card) from error
    return Path(folder)


def local_file(card: ModelCard, name: str) -> Path | None:
    """A file of the model, from its folder or the hub's cache; None where it is not here."""
    if card.folder is not None:
        file = card.folder / name
        if not file.is_file() and card.is_bundled:
            file = bundled_place(card.name) / name
        return file if file.is_file() else None
    cached = try_to_load_from_cache(card.source, name, revision=card.revision) if card.is_hub else None
    return Path(cached) if isinstance(cached, str) else None


def cached_commit(card: ModelCard) -> str | None:
    """The commit of a hub model's files in the local cache, which keeps a folder for each; None for others.

    A revision that is a commit is known without the files.
    """
    if not card.is_hub:
        return None
    if card.revision is not None and COMMIT.fullmatch(card.revision):
        return card.revision
    config = local_file(card, "config.json")
    return config.parent.name if config is not None else None


def _hub_config(card: ModelCard) -> Mapping[str, Any]:
    if not hub_has(card):
        raise _nowhere(card)
    try:
        return _read(Path(hf_hub_download(card.source, "config.json", revision=card.revision)))
    except (HfHubHTTPError, OSError) as error:  # none there, or not for everyone
        raise ModelNotFound(
            f"the config.json of model '{card.name}' could not be had from the Hugging Face hub: "
            f"{str(error).strip().splitlines()[-1]}"
        ) from error


def _nowhere(card: ModelCard) -> ModelNotFound:
    return ModelNotFound(
        f"model '{card.name}' is neither a folder here nor in the local cache, and the Hugging Face hub cannot be "
        "reached; check the name and the network, or use 'minilm', which needs none"
    )


def installed_models(models_folder: Path | None = None) -> list[ModelCard]:
    """The models that need no network: the bundled ones installed here, and those in the models folder.

    A folder that no name leads to (one called as a bundled model, say) is none; nor is a part of a model (such as the
    `1_Pooling` of sentence-transformers): a folder inside that of a model, whose config names no family.
    """
    cards = []
    for name in BUNDLED:
        with suppress(ModelNotFound):
            cards.append(find_model(name))
    names = folders_in(models_folder) if models_folder is not None else []
    for name in names:
        with suppress(ModelNotFound):  # its config is no JSON
            card = read_card(ModelReference("folder", name), models_folder)
            inside = not {str(parent) for parent in PurePosixPath(name).parents}.isdisjoint(names)
            if "model_type" in card.config or not inside:
                cards.append(card)
    return cards


def folders_in(models_folder: Path) -> list[str]:
    """The names of the models in the models folder."""
    names = []
    for config in sorted(models_folder.glob("**/config.json")):
        name = config.parent.relative_to(models_folder).as_posix()
        with suppress(InvalidRequest, ModelNotFound):
            if resolve(name, models_folder) == ModelReference("folder", name):
                names.append(name)
    return names


def check_against_model(request: JobRequest, card: ModelCard) -> None:
    """Refuse indices that the model, as far as its config says, does not have."""
    check_indices(request, card.name, card.num_layers, card.num_heads)


def check_indices(request: JobRequest, name: str, num_layers: int | None, num_heads: int | None) -> None:
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


def _folder(reference: ModelReference, models_folder: Path | None) -> Path:
    if reference.is_path:
        return Path(reference.name).absolute()
    folder = folder_inside(models_folder, reference.name) if models_folder is not None else None
    if folder is None:
        raise ModelNotFound(
            f"model '{reference}' is not in the models folder here; put it there on every host, or choose one that "
            "GET /models lists"
        )
    return folder


def _folder_card(name: str, folder: Path) -> ModelCard:
    config = folder / "config.json"
    if not os.path.isfile(config):  # noqa: PTH113 - no OSError for a name that is too long
        raise ModelNotFound(
            f"model '{name}': no config.json in that folder; point at a folder saved by save_pretrained()"
        )
    return ModelCard(name, str(folder), None, _read(config))


def _cached_config(repo: str, revision: str | None) -> Mapping[str, Any]:
    cached = try_to_load_from_cache(repo, "config.json", revision=revision)
    return _read(Path(cached)) if isinstance(cached, str) else {}


def _read(config: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelNotFound(f"the config.json of the model is not valid JSON: {error}; save it again") from None
    if not isinstance(document, dict):
        raise ModelNotFound("the config.json of the model is no JSON object; save it again")
    return document
