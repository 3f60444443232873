"""A result in a notebook: the viewer in a frame of its own, which reaches nothing outside itself."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEIGHT = 640
"""Of the frame, in pixels."""


@dataclass(frozen=True)
class Shown:
    """The viewer, as a notebook displays it."""

    result: Mapping[str, Any]
    height: int = HEIGHT

    def _repr_html_(self) -> str:
        from lig_core.result.viewer.page import render_page  # noqa: PLC0415 - a client that shows nothing needs no NumPy

        return (
            f'<iframe sandbox="allow-scripts allow-downloads" title="LIG" width="100%" height="{self.height}" '
            f'style="border:0" srcdoc="{html.escape(render_page(self.result))}"></iframe>'
        )


def show(result: Mapping[str, Any], *, height: int = HEIGHT) -> Shown:
    """The viewer of a result in a notebook, `height` pixels high; a document as `explain` returns it."""
    return Shown(result, height)


class Explanation(dict[str, Any]):
    """A result's document, a dict like any other, that a notebook displays as the viewer.

    Computed here, its layers are arrays until they are read.
    """

    def _repr_html_(self) -> str:
        return show(self)._repr_html_()
