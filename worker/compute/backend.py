"""The numerical core as the worker uses it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from lig_core.contract import ExplainRequest, JobRequest, Progress
from lig_core.loading.loader import Loader
from lig_core.result.arrays import LayerArrays

Report = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Backend(Loader):
    """Loads models, and does each kind of job with lig_core."""

    def __init__(self) -> None:
        super().__init__()
        from lig_core import batch, method  # noqa: PLC0415 - they import torch
        from lig_core.experiment import measures  # noqa: PLC0415 - so does this

        self._batch = batch
        self._streams: Mapping[str, Callable[..., Any]] = {"explain": method.stream, "experiment": measures.stream}

    def stream(
        self, request: JobRequest, model: Any, report: Report, should_stop: ShouldStop, skip: Collection[int]
    ) -> tuple[Mapping[str, Any], Iterator[LayerArrays]]:
        """The head of the result, then its layers as they are computed, but for those in `skip`.

        Raises Cancelled soon after `should_stop` says so.
        """
        return self._streams[request.kind](request, model, progress=report, should_stop=should_stop, skip=skip)

    def stream_batch(
        self,
        requests: Sequence[JobRequest],
        model: Any,
        report: Callable[[int, Progress], None],
        should_stop: ShouldStop,
        skip: Collection[int],
    ) -> Iterator[tuple[list[int], list[dict[str, Any]], Iterator[list[LayerArrays]]]]:
        """Explanations of texts that share sequences: as `lig_core.batch.stream_batch`."""
        explains = [request for request in requests if isinstance(request, ExplainRequest)]
        if len(explains) < len(requests):
            raise TypeError("only explanations share sequences")
        return self._batch.stream_batch(explains, model, progress=report, should_stop=should_stop, skip=skip)
