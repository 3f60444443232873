"""Every way an explanation can fail, each with a stable `code`.

    LigError
    ├── InvalidRequest        invalid_request       the request contradicts itself or its model
    │   ├── TextTooLong       text_too_long         more tokens than the model has positions
    │   └── UnsupportedMap    unsupported_map       the model has no such boundary (and why)
    ├── ModelNotFound         model_not_found       no such model here, or the hub cannot be reached
    ├── ModelChanged          model_changed         its files were replaced meanwhile
    ├── UnsupportedModel      unsupported_model     its files are no whole model, or no block replays exactly
    ├── NotConverged          not_converged         asked to fail when a map misses its tolerance
    ├── NotComparable         not_comparable        two results that have nothing to set side by side
    ├── OutOfMemory           out_of_memory         even the smallest chunk did not fit
    ├── Cancelled             cancelled             stopped on request
    └── ServiceError          (the service's code)  what a remote service answered to the client

A code never changes its meaning. The service maps codes to HTTP statuses in one table; the
command line prints `detail` in one line. Some have a built-in exception as second base, which is what the authors'
library raises there: ValueError (InvalidRequest, UnsupportedModel), NotImplementedError (UnsupportedMap,
UnsupportedModel). So who handles LigErrors apart does it before ValueError and RuntimeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One fault in a request: where (RFC 6901 JSON pointer into the request) and what to do."""

    pointer: str
    detail: str


class LigError(Exception):
    """Base of all errors a user may see; `detail` says what was asked, what is allowed, what to do.

    retry_after: seconds until the same request makes sense again, where that is known.
    """

    code: str = "internal_error"
    title: str = "Internal error"
    retryable: bool = False

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after  # seconds, where it is known when the same may succeed

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON data: code, title, detail, retryable, errors."""
        return {
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            "retryable": self.retryable,
            "errors": [{"pointer": e.pointer, "detail": e.detail} for e in self.errors],
        }


class InvalidRequest(LigError, ValueError):
    """The request cannot be carried out as it stands."""

    code = "invalid_request"
    title = "The request is not valid"


class TextTooLong(InvalidRequest):
    """The text has more tokens than the model has positions."""

    code = "text_too_long"
    title = "The text is too long for the model"


class UnsupportedMap(InvalidRequest, NotImplementedError):
    """The model has no such boundary."""

    code = "unsupported_map"
    title = "The model does not support this map"


class ModelNotFound(LigError):
    """No such model here, and no hub that has it could be reached."""

    code = "model_not_found"
    title = "The model was not found"


class ModelChanged(LigError):
    """The model's files were replaced: since the job was accepted, or while they were read."""

    code = "model_changed"
    title = "The model's files were replaced"
    retryable = True


class UnsupportedModel(LigError, NotImplementedError, ValueError):
    """Its files are not those of a whole plain model, or its blocks could not be found or do not replay exactly."""

    code = "unsupported_model"
    title = "The model is not supported"


class NotConverged(LigError):
    """A map missed its tolerance and the request said to fail then."""

    code = "not_converged"
    title = "The quadrature did not converge"


class NotConvergedWarning(UserWarning):
    """Some columns of a result have not converged; `on_unconverged` makes it an error, or silences it."""


class NotComparable(LigError):
    """Two results are about different tokens, or share no map of any layer."""

    code = "not_comparable"
    title = "The results cannot be compared"


class OutOfMemory(LigError):
    """The smallest chunk of work did not fit in memory."""

    code = "out_of_memory"
    title = "Out of memory"
    retryable = True


class Cancelled(LigError):
    """The work was stopped on request."""

    code = "cancelled"
    title = "The job was cancelled"


class ServiceError(LigError):
    """A refusal or failure that a remote LIG service answered with.

    `code`, `title` and `retryable` are those of its problem; `problem` is the whole of it.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        errors = [FieldError(e["pointer"], e["detail"]) for e in problem.get("errors", ())]
        super().__init__(str(problem.get("detail") or problem.get("title") or "the service failed"), errors=errors)
        self.problem = problem
        self.code = str(problem.get("code") or self.code)
        self.title = str(problem.get("title") or self.title)
        self.retryable = bool(problem.get("retryable", self.retryable))

    def as_dict(self) -> dict[str, Any]:
        """The problem as the service sent it."""
        return self.problem
