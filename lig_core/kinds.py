"""The kinds of jobs, by the name of each: what may be asked for, checked, and as it is stored. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lig_core.contract import ExplainRequest, JobRequest, parse_request
from lig_core.experiment.request import ExperimentRequest, parse_experiment


@dataclass(frozen=True)
class Kind:
    """parse: untrusted data as a request, or InvalidRequest; stored: fields that were checked when it was accepted."""

    parse: Callable[[object], JobRequest]
    stored: Callable[..., JobRequest]


KINDS: Mapping[str, Kind] = {
    "explain": Kind(parse_request, ExplainRequest.model_construct),
    "experiment": Kind(parse_experiment, ExperimentRequest),
}
