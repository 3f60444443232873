"""Errors of the API itself, beside the errors of `lig_core`; each with a stable `code`."""

from __future__ import annotations

from lig_core.errors import LigError


class MalformedJson(LigError):
    """The body is not JSON."""

    code = "malformed_json"
    title = "The body is not valid JSON"


class WrongMediaType(LigError):
    """The body is declared as something other than JSON."""

    code = "unsupported_media_type"
    title = "The body must be JSON"


class BodyTooLarge(LigError):
    """The body is larger than the service accepts."""

    code = "body_too_large"
    title = "The body is too large"


class MalformedHttp(LigError):
    """The bytes that came are not HTTP."""

    code = "malformed_http"
    title = "The request is not valid HTTP"


class HeadTooLarge(LigError):
    """The request's line and header fields are larger than the service accepts."""

    code = "head_too_large"
    title = "The head of the request is too large"


class RequestTimeout(LigError):
    """The request did not arrive in time."""

    code = "request_timeout"
    title = "The request did not arrive in time"
    retryable = True


class TooManyConnections(LigError):
    """All connections that there may be have requests under way."""

    code = "too_many_connections"
    title = "There are too many connections"
    retryable = True


class ResultTooLarge(LigError):
    """The result would be larger than the service makes."""

    code = "result_too_large"
    title = "The result would be too large"


class Unauthorized(LigError):
    """No key was sent, or one that is not known."""

    code = "unauthorized"
    title = "A key is needed"


class Forbidden(LigError):
    """The key may not do this."""

    code = "forbidden"
    title = "The key may not do this"


class ModelNotAllowed(LigError):
    """The model is not among those that this service explains."""

    code = "model_not_allowed"
    title = "The model is not allowed here"


class WrongHost(LigError):
    """The request is addressed to a host that this service is not known as."""

    code = "wrong_host"
    title = "This service has another name"


class NotFound(LigError):
    """No route has this path."""

    code = "not_found"
    title = "There is nothing here"


class MethodNotAllowed(LigError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    title = "This path does not take this method"


class UnknownModel(LigError):
    """The path names a model that is not to be had; in a request body that is model_not_found."""

    code = "unknown_model"
    title = "There is no such model"


class NotAcceptable(LigError):
    """The caller accepts none of the media types there are."""

    code = "not_acceptable"
    title = "There is no such format"


class JobNotFound(LigError):
    """No job has this id, or it was forgotten."""

    code = "job_not_found"
    title = "There is no such job"


class JobExpired(LigError):
    """The job ended, and neither its state nor its result is kept any more."""

    code = "job_expired"
    title = "The job has expired"


class JobNotFinished(LigError):
    """The result was asked for before the job finished."""

    code = "job_not_finished"
    title = "The job has not finished"
    retryable = True


class JobHasNoResult(LigError):
    """The job ended without a result."""

    code = "job_has_no_result"
    title = "The job ended without a result"


class JobHasNoMaps(LigError):
    """The job measured sentences, and what is asked is about the maps of an explanation."""

    code = "job_has_no_maps"
    title = "The job holds no maps"


class JobEnded(LigError):
    """The job ended before what was asked for could be done."""

    code = "job_ended"
    title = "The job has ended already"


class ResultExpired(LigError):
    """The job succeeded, but its result is no longer kept."""

    code = "result_expired"
    title = "The result has expired"


class StoreUnavailable(LigError):
    """Redis does not answer, or does not do what it is asked."""

    code = "store_unavailable"
    title = "The job store cannot be used"
    retryable = True


class NotReady(LigError):
    """The service is up, but could not run a job now."""

    code = "not_ready"
    title = "The service is not ready"
    retryable = True


class Draining(LigError):
    """The service is about to stop and takes no more work."""

    code = "draining"
    title = "The service is stopping"
    retryable = True
