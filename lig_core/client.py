"""A client of the LIG service.

    with Client("http://127.0.0.1:8000") as client:
        result = client.explain("The cat sat on the mat.", model="minilm")

What the service refuses or fails at is raised as ServiceError, with the service's problem document.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from lig_core.contract import ExplainRequest, Progress
from lig_core.errors import LigError, ServiceError

POLL_SECONDS = 30.0
POLL_SECONDS_WITH_PROGRESS = 1.0
ANSWER_SECONDS = 30.0
"""How long the service may take to answer, on top of a wait that was asked for."""


class ServiceUnreachable(LigError):
    """No service answers at the address."""

    code = "service_unreachable"
    title = "The service cannot be reached"
    retryable = True


class Client:
    """Talks to one service. Every method raises ServiceError for a problem, ServiceUnreachable for silence."""

    def __init__(
        self, base_url: str = "http://127.0.0.1:8000", *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=ANSWER_SECONDS, transport=transport)

    def explain(
        self,
        request: ExplainRequest | str,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Send a text or a request, wait for the end, and return the result.

        `fields` are those of ExplainRequest. `timeout` is in seconds; TimeoutError leaves the job running.
        """
        job = self.submit(request, **fields)
        job = self.wait(job["id"], on_progress=on_progress, timeout=timeout)
        if job["status"] == "succeeded":
            return self.result(job["id"])
        raise ServiceError(job.get("problem") or {"code": job["status"], "detail": f"the job was {job['status']}"})

    def submit(self, request: ExplainRequest | str, **fields: Any) -> dict[str, Any]:
        """Queue a text or a request; returns the job at once."""
        if isinstance(request, ExplainRequest):
            body = {**request.model_dump(mode="json", exclude_unset=True), **fields}
        else:
            body = {"text": request, **fields}
        return self._ask("POST", "/v1/explain", json=body)

    def job(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """How a job stands, without its result; `wait` seconds for it to end first."""
        query = {"wait": wait, "embed": "false"}
        return self._ask("GET", f"/v1/jobs/{job_id}", params=query, timeout=wait + ANSWER_SECONDS)

    def wait(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Wait until a job ended and return it; raises TimeoutError after `timeout` seconds.

        `on_progress` is called whenever the progress differs from what it was told last.
        """
        patience = POLL_SECONDS_WITH_PROGRESS if on_progress else POLL_SECONDS
        deadline = None if timeout is None else time.monotonic() + timeout
        told: Progress | None = None
        while True:
            left = patience if deadline is None else max(0.0, deadline - time.monotonic())
            job = self.job(job_id, wait=min(patience, left))
            progress = Progress.model_validate(job["progress"])
            if on_progress and progress != told:
                on_progress(progress)
                told = progress
            if job["status"] not in {"queued", "running"}:
                return job
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is still {job['status']} after {timeout} s; ask again with wait()")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job and return it; a running one stops a moment after. Raises ServiceError if it has ended."""
        return self._ask("POST", f"/v1/jobs/{job_id}/cancel")

    def result(self, job_id: str) -> dict[str, Any]:
        """The result of a job that succeeded."""
        return self._ask("GET", f"/v1/jobs/{job_id}/result")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise ServiceUnreachable(
                f"no answer from {self._http.base_url} ({error}); start the service with: lig serve"
            ) from error
        if response.is_error:
            raise ServiceError(_problem(response))
        answer: dict[str, Any] = response.json()
        return answer


def _problem(response: httpx.Response) -> dict[str, Any]:
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        problem: dict[str, Any] = response.json()
        return problem
    # Something in between answered: a proxy, or another server on this port.
    return {
        "code": "not_a_lig_service",
        "status": response.status_code,
        "detail": f"{response.url} answered {response.status_code} without a problem document; is it a LIG service?",
    }
