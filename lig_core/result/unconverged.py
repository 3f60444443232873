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
    from lig_core.contract import LOOSEST_RTOL  # noqa: PLC0415  pydantic, which a command's help has no use for

    missed, config = result["unconverged"], result["config"]
    where = [f"layer {each['layer']}: {each['columns']} of {each['map']}" for each in missed[:MOST_NAMED]]
    more = f"; and {len(missed) - MOST_NAMED} more maps" if len(missed) > MOST_NAMED else ""
    advice = [f"an rtol up to {LOOSEST_RTOL:g}"] if config["rtol"] < LOOSEST_RTOL else []
    if config["num_steps"] is not None:
        advice = ["more num_steps, or none"]
    if config["dtype"] == "float32":
        advice.append("dtype float64")
    advice.append("on_unconverged ignore to hear nothing of it")
    return (
        f"{sum(each['columns'] for each in missed)} columns of the result missed rtol {config['rtol']:g} "
        f"({'; '.join(where)}{more}); their certificates say by how much; "
        f"ask for {', or '.join(advice)}"
    )


def warn_unconverged(on_unconverged: str, result: Mapping[str, Any], *, stacklevel: int) -> None:
    """Issue a NotConvergedWarning about a result, where it deserves one and the request does not say otherwise."""
    message = complaint(result) if on_unconverged == "warn" else None
    if message is not None:
        warnings.warn(message, NotConvergedWarning, stacklevel=stacklevel + 1)
