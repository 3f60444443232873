"""The stage of the API process between its start and its end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.http.errors import Draining


@dataclass
class Lifecycle:
    """`started` once it was ready for the first time; `leaving` from the signal to stop on; `draining` when it ends.

    Between the last two, requests are answered as ever. Whoever waits for something else has itself told when they
    end, for the server waits for its connections.
    """

    started: bool = False
    leaving: bool = False
    draining: bool = False
    _callbacks: list[Callable[[], None]] = field(default_factory=list)

    def leave(self) -> None:
        """The signal to stop has come."""
        self.leaving = True

    def drain(self) -> None:
        """Nothing more is to be waited for; to be called in the event loop, where those who wait are."""
        self.leaving = self.draining = True
        for callback in list(self._callbacks):
            callback()

    def refuse_while_leaving(self) -> None:
        """Raises Draining where load balancers are to send nothing more."""
        if self.leaving:
            raise _draining()

    def refuse_while_draining(self) -> None:
        """Raises Draining where new work would not be followed to its end."""
        if self.draining:
            raise _draining()

    @contextlib.contextmanager
    def telling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back when draining begins, if it does while the block runs; what began before is for it to look at."""
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)


def _draining() -> Draining:
    return Draining("this process is about to stop; send the request again, another will take it")
