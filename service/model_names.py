"""Which models may be named here."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from lig_core.errors import FieldError
from service.errors import ModelNotAllowed


def allowed(model: str, patterns: Sequence[str] | None) -> bool:
    """Whether a model may be asked for: by its id or `id@revision`, against ids and patterns; None allows all.

    The model is that which a name was resolved to, never the name as it was sent.
    """
    names = {model, model.partition("@")[0]}
    return patterns is None or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def refuse_others(model: str, patterns: Sequence[str] | None, pointer: str) -> None:
    """Refuse a model that is not allowed here; raises ModelNotAllowed that points at `pointer`."""
    if not allowed(model, patterns):
        detail = f"'{model}' is not among the models allowed here: {', '.join(patterns or ()) or 'none is'}"
        raise ModelNotAllowed(detail, errors=[FieldError(pointer, detail)])
