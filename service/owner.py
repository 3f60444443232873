"""Whose jobs a request may see."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from service.jobs import ANONYMOUS


def owner() -> str:
    """The name of the key that was sent; without keys everybody's."""
    return ANONYMOUS


Owner = Annotated[str, Depends(owner)]
"""For a handler's parameter."""
