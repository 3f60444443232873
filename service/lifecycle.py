"""Where the API process is between its start and its end."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import Draining


@dataclass
class Lifecycle:
    """`started` once it was ready for the first time; `draining` from the signal to stop on."""

    started: bool = False
    draining: bool = False

    def refuse_while_draining(self) -> None:
        """Raises Draining where new work would not be followed to its end."""
        if self.draining:
            raise Draining("this process is about to stop; send the request again, another will take it")
