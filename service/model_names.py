"""Names of models as a remote caller may send them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from lig_core.errors import FieldError, InvalidRequest
from service.errors import ModelNotAllowed


def refuse_paths(model: str, pointer: str) -> None:
    """Refuse a name that looks like a path; raises InvalidRequest that points at `pointer`.

    The catalogue opens folders for the command line; a remote caller must not look around on this disk.
    """
    if model.startswith((".", "/", "~")) or ".." in model or "\\" in model or not model.isprintable():
        detail = f"{model!r} looks like a path; over HTTP send a Hugging Face id or a name from the models folder"
        raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])


def allowed(model: str, patterns: Sequence[str] | None) -> bool:
    """Whether a model may be named: by its id or `id@revision`, against ids and patterns; None allows all."""
    names = {model, model.partition("@")[0]}
    return patterns is None or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def refuse_others(model: str, patterns: Sequence[str] | None, pointer: str) -> None:
    """Refuse a model that is not allowed here; raises ModelNotAllowed that points at `pointer`."""
    if not allowed(model, patterns):
        detail = f"'{model}' is not among the models allowed here: {', '.join(patterns or ()) or 'none is'}"
        raise ModelNotAllowed(detail, errors=[FieldError(pointer, detail)])
