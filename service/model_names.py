"""Names of models as a remote caller may send them."""

from __future__ import annotations

from lig_core.errors import FieldError, InvalidRequest


def refuse_paths(model: str, pointer: str) -> None:
    """Refuse a name that looks like a path; raises InvalidRequest that points at `pointer`.

    The catalogue opens folders for the command line; a remote caller must not look around on this disk.
    """
    if model.startswith((".", "/", "~")) or ".." in model or "\\" in model or not model.isprintable():
        detail = f"{model!r} looks like a path; over HTTP send a Hugging Face id or a name from the models folder"
        raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])
