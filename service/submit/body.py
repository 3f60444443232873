"""The bodies that may be posted: a request, or many texts that share one, and where to tell their end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lig_core.contract import ExplainRequest, invalid_request, parse_request
from lig_core.errors import FieldError, InvalidRequest, LigError
from lig_core.experiment.request import ExperimentRequest
from service.http.errors import MalformedJson, ResultTooLarge, WrongMediaType

MOST_FAULTS = 20
"""Of a batch, how many faults are told at once."""

Webhook = Annotated[
    str | None,
    Field(
        max_length=2000,
        description="URL that is told when the job ends (standardwebhooks.com), where this service has a secret to "
        "sign with. HTTPS, and no address of a private network unless it is allowed here.",
        examples=["https://example.org/hooks/lig"],
    ),
]
Model = TypeVar("Model", bound=BaseModel)


class SubmitRequest(ExplainRequest):
    """One request: a text (or its tokens), a model, which maps of which layers, from which baselines;
    and whom to tell.

    Unknown fields are refused. `num_steps` absent means adaptive quadrature to `rtol`; a number means that many
    Gauss-Legendre nodes.
    """

    model_config = ConfigDict(title="ExplainRequest")

    webhook: Webhook = None

    def explain_request(self) -> ExplainRequest:
        """The request without what changes no number of its result."""
        return ExplainRequest.model_construct(**{name: getattr(self, name) for name in ExplainRequest.model_fields})


class SubmitExperiment(ExperimentRequest):
    """Some sentences of a corpus, measured together: of each layer and target, how far each pair's composed map is from
    its layer map; and whom to tell.

    Unknown fields are refused. The adaptive quadrature integrates to `rtol`, in float32.
    """

    model_config = ConfigDict(title="ExperimentRequest")

    webhook: Webhook = None

    def experiment_request(self) -> ExperimentRequest:
        """The request without what changes no number of its result."""
        return ExperimentRequest.model_construct(
            **{name: getattr(self, name) for name in ExperimentRequest.model_fields}
        )


class BatchRequest(BaseModel):
    """Many texts, one set of options, one webhook; each text becomes a job."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(min_length=1, description="The texts, each as `text` of an ExplainRequest.")
    options: dict[str, Any] = Field({}, description="The rest of the ExplainRequest, for all texts.")
    webhook: Webhook = None


async def read_json(request: Request) -> Any:
    """The body; raises WrongMediaType or MalformedJson."""
    # Read by hand: FastAPI answers malformed JSON and a wrong media type with 422, and they are 400 and 415.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongMediaType(f"got '{media_type or 'no Content-Type'}'; send Content-Type: application/json")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise WrongMediaType(f"got Content-Encoding: {coding}; send the JSON as it is, without that header")
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MalformedJson(f'{error}; send an object such as {{"text": "The cat sat on the mat."}}') from None


def parse_submission(data: Any) -> SubmitRequest:
    """One text; raises InvalidRequest with a pointer per fault."""
    return _validated(SubmitRequest, data)


def parse_posted_experiment(data: Any) -> SubmitExperiment:
    """A pack of sentences; raises InvalidRequest with a pointer per fault."""
    return _validated(SubmitExperiment, data)


def parse_batch(data: Any, most: int) -> tuple[list[ExplainRequest], str | None]:
    """The requests of a batch and its webhook; raises InvalidRequest with pointers into the batch."""
    batch = _validated(BatchRequest, data)
    if len(batch.texts) > most:
        detail = f"{len(batch.texts)} texts, and a batch takes at most {most}; send several batches"
        raise InvalidRequest(detail, errors=[FieldError("/texts", detail)])
    misplaced = [f"/options/{name}" for name in ("text", "tokens") if name in batch.options]
    if misplaced:
        detail = "what to explain stands in /texts; leave it out"
        errors = [FieldError(pointer, detail) for pointer in misplaced]
        raise InvalidRequest(f"{' and '.join(misplaced)}: {detail}", errors=errors)
    faults, requests = BatchFaults(), []
    for place, text in enumerate(batch.texts):
        with faults.of_text(place):
            requests.append(parse_request({**batch.options, "text": text}))
    faults.raise_any()
    return requests, batch.webhook


class BatchFaults:
    """Gathers what is wrong with a batch, to tell it at once: `/text` of the fourth text is `/texts/3`."""

    def __init__(self) -> None:
        self._first: LigError | None = None
        self._faults: dict[tuple[str, str], FieldError] = {}

    @contextmanager
    def of_text(self, place: int) -> Iterator[None]:
        """Gather what is raised about the text at this place; what concerns no part of the request goes on."""
        try:
            yield
        except LigError as error:
            faults = error.errors
            if isinstance(error, ResultTooLarge):
                faults = (FieldError("/text", error.detail),)
            if not faults:
                raise
            self._first = self._first or error
            for fault in faults:
                pointer = f"/texts/{place}" if fault.pointer == "/text" else f"/options{fault.pointer}"
                self._faults.setdefault((pointer, fault.detail), FieldError(pointer, fault.detail))

    def raise_any(self) -> None:
        """Raise an error of the first one's kind, with all that was gathered."""
        if self._first is None:
            return
        errors = list(self._faults.values())[:MOST_FAULTS]
        more = len(self._faults) - len(errors)
        detail = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in errors)
        raise type(self._first)(
            f"nothing was queued: {detail}{f'; and {more} more' if more else ''}", errors=errors
        ) from None


def _validated(model: type[Model], data: Any) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error, model) from None
