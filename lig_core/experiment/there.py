"""Sentences measured by the workers of a service: each portion is a job of its queue. Imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice

from lig_core.client import Client, Job, ServiceUnreachable, require_success
from lig_core.errors import InvalidRequest, ServiceError
from lig_core.experiment.conduct import Portion
from lig_core.result.arrays import Head, LayerArrays
from lig_core.result.saved import from_safetensors

AHEAD = 16
"""Portions that are queued or computed at a time: enough for as many workers, few enough for a queue that others use.
Where the service takes fewer from this key, or its queue is full, it says when to come back, and the client does."""
GONE = frozenset({"job_not_found", "job_expired", "result_expired"})
"""What a service answers of a job that it does not hold any more; the portion is sent again."""
TRIES = 3
MAX_RETRIES, RETRY_SECONDS = 1000, 3600.0
"""How often, and for how long, a service is asked again that is busy or away, once it has said what its model is."""


class There:
    """One model of a service.

    It is asked for its layers, and told what to cancel, with the client's own patience; for all else, with an hour's.
    """

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model = client, model
        self._patient = client.with_retries(MAX_RETRIES, RETRY_SECONDS)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    @cached_property
    def num_layers(self) -> int:
        """How many layers it has, as the service knows; raises InvalidRequest where it does not."""
        count: int | None = self._client.boundaries(self._model)["num_layers"]
        if count is None:
            raise InvalidRequest(f"the config of '{self._model}' does not say how many layers it has")
        return count

    def measured(self, portions: Iterable[Portion]) -> Iterator[tuple[Portion, Head, list[LayerArrays]]]:
        """The head and the layers of each portion, in their order.

        A portion that was taken over is forgotten by the service when the next is asked for; those that nobody waits
        for any more are cancelled. Raises ServiceError of a job that failed, ServiceUnreachable where the service stays
        away.
        """
        left, queued = iter(portions), deque[tuple[Portion, Job]]()
        try:
            while True:
                for portion in islice(left, AHEAD - len(queued)):
                    queued.append((portion, self._submit(portion)))
                if not queued:
                    return
                portion, job = queued[0]
                job_id, head, layers = self._result(portion, job)
                queued.popleft()
                yield portion, head, layers
                self._patient.delete(job_id)
        except ServiceUnreachable as error:
            raise ServiceUnreachable(f"{error.detail}; then the same command goes on from what is measured") from error
        finally:
            self._cancel(job for _, job in queued)

    def _cancel(self, jobs: Iterable[Job]) -> None:
        with suppress(ServiceUnreachable):  # whoever goes on with the run will find them there
            for job in jobs:
                with suppress(ServiceError):  # it ended
                    self._client.cancel(job["id"])

    def _submit(self, portion: Portion) -> Job:
        return self._patient.experiment(**portion.request.model_dump(mode="json", exclude_unset=True))

    def _result(self, portion: Portion, job: Job) -> tuple[str, Head, list[LayerArrays]]:
        for left in reversed(range(TRIES)):
            try:
                job = self._patient.wait(job["id"])
                require_success(job)
                result = from_safetensors(self._patient.result(job["id"], format="safetensors"))
                return job["id"], result.head, list(result)
            except ServiceError as error:
                if error.problem.get("code") not in GONE or not left:
                    raise
                job = self._submit(portion)
        raise AssertionError("unreachable")
