"""A job's work, in the process that holds the models."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from redis import Redis
from redis.exceptions import RedisError

from lig_core.contract import JobRequest, Progress
from lig_core.errors import Cancelled, LigError
from lig_core.loading.model_pool import ModelPool
from lig_core.models.catalog import ModelCard, check_against_model, read_card
from lig_core.models.references import ModelReference, resolve
from lig_core.result.arrays import LayerArrays
from lig_core.serving.queue import blobs
from lig_core.serving.queue.job_errors import JobDamaged
from lig_core.serving.queue.moves import Done, Moves, Part, Run
from lig_core.serving.queue.names import Field, blob_key
from lig_core.serving.queue.redis_faults import damaged
from worker.compute.backend import Backend, Report, ShouldStop
from worker.patience import patiently

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Explainer:
    """Does a queue's jobs with the models of one process."""

    backend: Backend
    pool: ModelPool
    models_folder: Path | None
    redis: Redis
    queue: str

    def explain(
        self,
        run: Run,
        request: JobRequest,
        report: Report,
        should_stop: ShouldStop,
        accepted: Mapping[str, Any] | None = None,
    ) -> Done:
        """Do what is asked, storing each layer as it is done, but for those that an earlier attempt left.

        accepted: the model that the job was accepted with: `reference`, and `identity` where that was known.

        Raises Cancelled where the job is another worker's by now, ModelChanged where that model is not here any more.
        """
        reference, identity = self._accepted(request, accepted or {})
        card = self._card(reference, identity)
        check_against_model(request, card)
        began, loaded = time.monotonic(), False

        def loading() -> None:
            nonlocal loaded
            loaded = True
            report(Progress(phase="loading", done=0, total=1, unit="models"))

        held = self.pool.get(card, request.dtype, identity, loading=loading)
        held_as = None if card.is_hub else card.name
        there = self._patiently(lambda: self._moves.use_files(run, held.identity, held_as), should_stop)
        if there is None:
            raise Cancelled("the lease was lost")
        ready = time.monotonic()
        head, layers = self.backend.stream(request, held.model, report, should_stop, there)
        self._patiently(
            lambda: self.store(run, Field.HEAD, orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)), should_stop
        )
        for layer in layers:
            self._patiently(
                partial(self.store, run, f"{Field.LAYER}{layer.index}", layer.to_bytes(), layer), should_stop
            )
        load, compute = ready - began if loaded else 0.0, time.monotonic() - ready
        return Done(load=load, compute=compute, loaded=loaded, whole=not there)

    def store(self, run: Run, name: str, plain: bytes, layer: LayerArrays | None = None) -> None:
        """Write one part of the result; raises Cancelled where the job is another worker's by now."""
        ref = blob_key(run.queue, run.computation, run.execution, name)
        stored = blobs.compressed(plain)
        part = Part(name, ref, len(plain), len(stored))
        if layer is not None:
            part = replace(part, index=layer.index, converged=layer.converged, **_spent(layer))
        if not self._moves.add_part(run, part, stored):
            raise Cancelled("the lease was lost")

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
