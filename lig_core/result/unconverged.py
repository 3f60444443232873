"""Complaints about a result that has not converged: a warning in Python, a line of the command. Imports no NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lig_core.errors import NotConvergedWarning

MOST_NAMED = 6
"""Of maps with columns that have not converged."""


def complaint(result: Mapping[str, Any]) -> str | None:
    """The complaint about a result that has not converged, on one line; None where it has."""
    if result.get("converged", True):
        return None
    missed, config = result["unconverged"], result["config"]
    where = [f"layer {each['layer']}: {each['columns']} of {each['map']}" for each in missed[:MOST_NAMED]]
    more = f"; and {len(missed) - MOST_NAMED} more maps" if len(missed) > MOST_NAMED else ""
    columns = sum(each["columns"] for each in missed)
    return (
        f"{columns} column{'' if columns == 1 else 's'} of the result missed rtol {config['rtol']:g} "
        f"({'; '.join(where)}{more}); certificates say by how much; {remedies(config)}set on_unconverged to ignore"
    )


def remedies(config: Mapping[str, Any]) -> str:
    """`ask for this, or ask for that, or `: what may make a result with these options converge; may be empty."""
    from lig_core.contract import LOOSEST_RTOL  # noqa: PLC0415  pydantic, which a command's help has no use for

    found = ["dtype float64"] if config["dtype"] == "float32" else []
    if config["num_steps"] is not None:
        found.append("more num_steps (left out, it is adaptive)")
    elif config["rtol"] < LOOSEST_RTOL:
        found.append(f"a larger rtol, up to {LOOSEST_RTOL:g}")
    return "".join(f"ask for {each}, or " for each in found)


def warn_unconverged(on_unconverged: str, result: Mapping[str, Any], *, stacklevel: int) -> None:
    """Issue a NotConvergedWarning about a result, where it deserves one and the request does not say otherwise."""
    message = complaint(result) if on_unconverged == "warn" else None
    if message is not None:
        warnings.warn(message, NotConvergedWarning, stacklevel=stacklevel + 1)
