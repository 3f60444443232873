"""A job's work, in the process that holds the models."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from redis import Redis
from redis.exceptions import RedisError

from lig_core.contract import JobRequest, Progress
from lig_core.errors import Cancelled, LigError
from lig_core.loading.model_pool import ModelPool
from lig_core.models.catalog import ModelCard, check_against_model, read_card
from lig_core.models.references import ModelReference, resolve
from lig_core.result.arrays import LayerArrays
from lig_core.result.plain.text import to_json
from lig_core.serving.queue import blobs
from lig_core.serving.queue.job_errors import JobDamaged
from lig_core.serving.queue.moves import Done, Moves, Part, Run
from lig_core.serving.queue.names import Field, blob_key
from lig_core.serving.queue.redis_faults import damaged
from worker.compute.backend import Backend, Report, ShouldStop
from worker.patience import patiently

log = logging.getLogger(__name__)

T = TypeVar("T")
ResultPart = Mapping[str, Any] | LayerArrays
"""The head of a result, or one of its layers."""


class LeaseLost(Cancelled):
    """The job is another worker's by now, or nobody's."""


@dataclass(frozen=True)
class Asked:
    """One attempt at a job: what is asked, whom to tell how far it has come, and the model that it was accepted with:
    `reference`, and `identity` where that was known."""

    run: Run
    request: JobRequest
    report: Report
    accepted: Mapping[str, Any]


@dataclass(frozen=True)
class _Ready:
    """What an attempt begins with: its model, the layers that earlier ones left, the seconds that loading took."""

    model: Any
    there: frozenset[int]
    load: float | None

    def done(self, compute: float) -> Done:
        loaded = self.load is not None
        return Done(load=self.load or 0.0, compute=compute, loaded=loaded, whole=not self.there)


@dataclass(frozen=True)
class Explainer:
    """Does a queue's jobs with the models of one process."""

    backend: Backend
    pool: ModelPool
    models_folder: Path | None
    redis: Redis
    queue: str

    def explain(self, asked: Asked, should_stop: ShouldStop) -> Done:
        """Do what is asked, storing each layer as it is done, but for those that an earlier attempt left.

        Raises Cancelled where the job is another worker's by now, ModelChanged where its model is not here any more.
        """
        ready, began = self._ready(asked, should_stop), time.monotonic()
        head, layers = self.backend.stream(asked.request, ready.model, asked.report, should_stop, ready.there)
        parts: Iterable[ResultPart] = chain([head], layers)
        for part in parts:
            self._store_part(asked.run, part, should_stop)
        return ready.done(time.monotonic() - began)

    def explain_together(self, asked: Sequence[Asked], should_stop: ShouldStop) -> Iterator[tuple[int, Done | None]]:
        """The same of texts that may share sequences: each one's place as it is done, with its share of the seconds;
        with None where it is another worker's by now.

        Raises what any of them gets wrong, and Cancelled where all are to stop; what was stored stays.
        """
        ready: dict[int, _Ready] = {}
        for place, one in enumerate(asked):
            try:
                ready[place] = self._ready(one, should_stop)
            except LeaseLost:
                yield place, None
        if not ready:
            return
        places, model = list(ready), next(iter(ready.values())).model
        if any(one.model is not model for one in ready.values()):
            raise ValueError("they are about models of different content")

        def report(number: int, progress: Progress) -> None:
            asked[places[number]].report(progress)

        requests = [asked[place].request for place in places]
        skip = frozenset.intersection(*(one.there for one in ready.values()))
        began = time.monotonic()
        for pack, heads, layers in self.backend.stream_batch(requests, model, report, should_stop, skip):
            going_on = dict.fromkeys(places[number] for number in pack)
            steps: Iterable[Sequence[ResultPart]] = chain([heads], layers)
            for parts in steps:
                for number, part in zip(pack, parts, strict=True):
                    if (place := places[number]) in going_on:
                        try:
                            self._store_part(asked[place].run, part, should_stop)
                        except LeaseLost:
                            del going_on[place]
                            yield place, None
                if not going_on:
                    break
            seconds, began = time.monotonic() - began, time.monotonic()
            for place in going_on:
                yield place, ready[place].done(seconds / len(pack))

    def store(self, run: Run, name: str, plain: bytes, layer: LayerArrays | None = None) -> None:
        """Write one part of the result; raises LeaseLost where the job is another worker's by now."""
        ref = blob_key(run.queue, run.computation, run.execution, name)
        stored = blobs.compressed(plain)
        part = Part(name, ref, len(plain), len(stored))
        if layer is not None:
            part = replace(part, index=layer.index, converged=layer.converged, **_spent(layer))
        if not self._moves.add_part(run, part, stored):
            raise LeaseLost("the lease was lost")

    def _store_part(self, run: Run, part: ResultPart, should_stop: ShouldStop) -> None:
        if isinstance(part, LayerArrays):
            store = partial(self.store, run, f"{Field.LAYER}{part.index}", part.to_bytes(), part)
        else:
            store = partial(self.store, run, Field.HEAD, to_json(part))
        self._patiently(store, should_stop)

    def _ready(self, asked: Asked, should_stop: ShouldStop) -> _Ready:
        """See to the model; raises LeaseLost where the job is another worker's by now."""
        request = asked.request
        reference, identity = self._accepted(request, asked.accepted)
        card = self._card(reference, identity)
        check_against_model(request, card)
        began, loaded = time.monotonic(), False

        def loading() -> None:
            nonlocal loaded
            loaded = True
            asked.report(Progress(phase="loading", done=0, total=1, unit="models"))

        held = self.pool.get(card, request.dtype, identity, loading=loading)
        held_as = None if card.is_hub else card.name
        there = self._patiently(lambda: self._moves.use_files(asked.run, held.identity, held_as), should_stop)
        if there is None:
            raise LeaseLost("the lease was lost")
        return _Ready(held.model, there, time.monotonic() - began if loaded else None)

    def _accepted(self, request: JobRequest, accepted: Mapping[str, Any]) -> tuple[ModelReference, str | None]:
        reference = accepted.get("reference")
        if reference is None:  # queued by an API that did not say
            return resolve(request.model, self.models_folder), None
        return ModelReference.of(reference), accepted.get("identity")

    def _card(self, reference: ModelReference, identity: str | None) -> ModelCard:
        commit = identity if reference.kind == "hub" else None
        return read_card(reference, self.models_folder, commit=commit)

    def _patiently(self, do: Callable[[], T], should_stop: ShouldStop) -> T:
        """Wait for Redis, which finished work is worth; raises Cancelled where the job is to stop."""
        try:
            return patiently(do, lambda: not should_stop())
        except RedisError as error:
            if damaged(error):
                raise JobDamaged(
                    "what Redis holds of this job was not put there by this service; send it again"
                ) from error
            raise Cancelled("stopped on request") from error

    @cached_property
    def _moves(self) -> Moves:
        return Moves(self.redis, self.queue)


def _spent(layer: LayerArrays) -> dict[str, Any]:
    """How often each number of nodes was needed, and how many columns did not converge."""
    spent: Counter[int] = Counter()
    unconverged = 0
    for name, array in layer.arrays.items():
        if name.endswith(".nodes"):
            values, counts = np.unique(array, return_counts=True)
            spent.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            unconverged += int((~layer[name.replace(".nodes", ".converged")]).sum())
    return {"nodes": spent, "unconverged": unconverged}


def error_document(error: Exception, job_id: str) -> dict[str, Any]:
    """The error as the caller may see it; what is not meant for the caller goes to this process's log."""
    if isinstance(error, LigError):
        log.warning("failed: %s", error.code)
        return error.as_dict()
    log.exception("failed", exc_info=error)
    return LigError(f"an unexpected fault; the worker's log has the details under job {job_id}").as_dict()
