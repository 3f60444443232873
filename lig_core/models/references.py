"""References to models: the one that a name means, bundled, in a folder, or of the Hugging Face hub.

One rule for each side that names come from. A remote caller's (`resolve`: the API, the worker) are judged by their
letters before anything touches the disk, and lead to no folder but those inside the models folder. Those of who sits
at this machine (`resolve_here`: the library, the command line) may be paths as well. What a name was resolved to is
what is checked, queued, computed and shown: `ok/`, `./ok` and `ok` are one model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported lazily

from lig_core.errors import FieldError, InvalidRequest, ModelNotFound
from lig_core.models.bundled.packages import BUNDLED

MOST_CHARACTERS = 200
PART = re.compile(r"\w[\w .+()-]{0,94}[\w+()-]|\w")
"""A folder's name inside the models folder, between two slashes."""
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
"""A branch, a tag or a commit; besides, git allows neither `..` nor `//` in one, nor a slash or `.lock` at its end."""
COMMIT = re.compile(r"[0-9a-f]{40}")
LOCAL = (".", "/", "~")

Kind = Literal["bundled", "folder", "hub"]


@dataclass(frozen=True)
class ModelReference:
    """The model that a name was resolved to.

    `name` is, of a folder inside the models folder, its path there (`shelf/tiny`), and of any other folder a path that
    nothing else is written like: `./shelf/tiny`, `../tiny`, `/shelf/tiny`. `revision` is a hub model's, as it was asked
    for; None: its main branch.
    """

    kind: Kind
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        """The one spelling of the name."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def is_path(self) -> bool:
        """True if it is a folder of this machine, named by its path and not by its place in the models folder."""
        return self.kind == "folder" and (self.name.startswith(".") or Path(self.name).is_absolute())

    def as_dict(self) -> dict[str, Any]:
        """As JSON data, for the queue."""
        return {"kind": self.kind, "name": self.name, "revision": self.revision}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ModelReference:
        """The reference that `as_dict` wrote; raises InvalidRequest for one that `resolve` cannot have made."""
        reference = cls(data["kind"], data["name"], data["revision"])
        repo, _, revision = str(reference).partition("@")
        sound = {
            "bundled": str(reference) in BUNDLED,
            "folder": folder_name(reference.name) == str(reference),
            "hub": is_repo(repo) and repo == reference.name and (reference.revision is None or is_revision(revision)),
        }
        if not sound.get(reference.kind, False):
            raise InvalidRequest(f"{str(reference)!r} is no name of a model; send the request again")
        return reference


def _never(name: str) -> bool:
    return False


def resolve(
    name: str, models_folder: Path | None = None, held: Callable[[str], bool] = _never, *, pointer: str = "/model"
) -> ModelReference:
    """The model that a remote caller's name means.

    held: whether a folder of this name is known to be in the models folder of the workers.

    Raises InvalidRequest, which points at `pointer`, for a name that no model can have, and ModelNotFound for one that
    is no folder's and can be no hub model's.
    """
    if "@" in name:
        return _at_revision(name, models_folder, held, pointer)
    folder = folder_name(name)
    if folder is None:
        raise _refused(name, pointer)
    if folder in BUNDLED:
        return ModelReference("bundled", folder)
    if _is_there(folder, models_folder, held, pointer):
        return ModelReference("folder", folder)
    if not is_repo(folder):
        raise ModelNotFound(
            f"model '{name}' is neither in the models folder nor a possible Hugging Face id (owner/name of letters, "
            "digits, '-', '_' and '.'); GET /models lists what is here, such as 'minilm'"
        )
    if folder != name:
        raise ModelNotFound(f"model '{name}' is not in the models folder; for that of the hub send '{folder}'")
    return ModelReference("hub", name)


def resolve_here(name: str) -> ModelReference:
    """The model that a name means on this machine: a bundled one, one in a folder, by its path, or a hub model.

    A relative path needs no `./` where there is a folder with a config.json. Raises InvalidRequest, or ModelNotFound
    for what is neither a folder here nor can be a hub model's name.
    """
    if name in BUNDLED:
        return ModelReference("bundled", name)
    if "\0" in name or not _encodable(name):
        raise _refused(name, "/model")
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises where there is no such user
    if name.startswith(LOCAL) or path.is_absolute() or os.path.isfile(path / "config.json"):  # noqa: PTH113 - no OSError
        written = str(path)
        relative = not path.is_absolute() and not written.startswith(".")
        return ModelReference("folder", f"./{written}" if relative else written)
    if "@" in name:
        return _at_revision(name, None, _never, "/model")
    if not is_repo(name):
        raise ModelNotFound(
            f"model '{name}' is neither a folder with a config.json nor a possible Hugging Face id; point at a folder "
            "saved by save_pretrained(), or use 'minilm'"
        )
    return ModelReference("hub", name)


def folder_name(name: str) -> str | None:
    """The one spelling of a name inside the models folder; None for what is no such name, by its letters alone."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if len(name) > MOST_CHARACTERS or name.startswith("/") or not parts:
        return None
    if not all(PART.fullmatch(part) and len(part.encode()) <= 255 for part in parts):
        return None
    return "/".join(parts)


def folder_inside(models_folder: Path, name: str, pointer: str = "/model") -> Path | None:
    """The folder of that name, as `folder_name` spells it; None where there is none.

    Raises InvalidRequest for a link that leads out of the models folder.
    """
    root = folder = Path(os.path.realpath(models_folder))
    for part in name.split("/"):  # one by one: nothing is looked for beyond a link that leads out
        folder = Path(os.path.realpath(folder / part))
        if not folder.is_relative_to(root):
            detail = f"'{name}' leads out of the models folder; mount or copy the model into it"
            raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])
    return folder if os.path.isdir(folder) else None  # noqa: PTH112 - no OSError


def is_repo(name: str) -> bool:
    """True if it may be a hub model's id."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.isascii()


def is_revision(revision: str) -> bool:
    """True if it may be a branch, a tag or a commit."""
    return (
        REVISION.fullmatch(revision) is not None
        and not any(part in revision for part in ("..", "//"))
        and not revision.endswith(("/", ".", ".lock"))
    )


def _at_revision(name: str, models_folder: Path | None, held: Callable[[str], bool], pointer: str) -> ModelReference:
    repo, _, revision = name.partition("@")
    if not is_repo(repo):
        raise _refused(name, pointer)
    if not is_revision(revision):
        detail = (
            f"{_shown(revision)!r} is no revision of a model; send a branch, a tag or a commit after the '@' (letters, "
            "digits, '.', '_', '/' and '-'), or leave out both"
        )
        raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])
    if repo in BUNDLED or _is_there(repo, models_folder, held, pointer):
        kind = "bundled" if repo in BUNDLED else "a folder"
        detail = f"'{repo}' is {kind} and has no revisions; send '{repo}'"
        raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])
    return ModelReference("hub", repo, revision)


def _is_there(name: str, models_folder: Path | None, held: Callable[[str], bool], pointer: str) -> bool:
    here = models_folder is not None and folder_inside(models_folder, name, pointer) is not None
    return here or held(name)


def _refused(name: str, pointer: str) -> InvalidRequest:
    path = name.startswith(LOCAL) or ".." in name or "\\" in name
    why = "looks like a path" if path else "is no name of a model, by its characters or its length"
    detail = (
        f"{_shown(name)!r} {why}; send a Hugging Face id or a name from the models folder, such as those that "
        "GET /models lists"
    )
    return InvalidRequest(detail, errors=[FieldError(pointer, detail)])


def _shown(name: str) -> str:
    return name if len(name) <= MOST_CHARACTERS else f"{name[:MOST_CHARACTERS]}…"


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
