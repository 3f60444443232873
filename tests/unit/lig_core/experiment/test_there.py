"""Portions by a service, whose answers are made up: what is gone is sent again, what nobody waits for is cancelled."""

import numpy as np
import pytest

from lig_core.client import ServiceUnreachable
from lig_core.errors import InvalidRequest, ServiceError
from lig_core.experiment import there
from lig_core.experiment.conduct import Portion
from lig_core.experiment.corpora import Sentence
from lig_core.experiment.request import ExperimentRequest
from lig_core.experiment.there import There
from lig_core.result.arrays import LayerArrays
from lig_core.result.formats import write_safetensors


class Service:
    """Answers as a client's methods do; `gone` are jobs that it does not know any more."""

    def __init__(self, gone=(), failed=()):
        self.gone, self.failed, self.sent, self.deleted, self.cancelled = set(gone), set(failed), [], [], []

    def with_retries(self, max_retries, retry_seconds):
        return self

    def boundaries(self, model):
        return {"num_layers": {"known": 2}.get(model)}

    def experiment(self, sentences, **options):
        self.sent.append(sentences[0]["text"])
        return {"id": f"{len(self.sent) - 1}", "status": "queued"}

    def wait(self, job_id):
        if job_id in self.gone:
            raise ServiceError({"code": "job_expired", "detail": "expired"})
        return {"id": job_id, "status": "failed" if job_id in self.failed else "succeeded"}

    def result(self, job_id, *, format):
        head = {"sentences": [self.sent[int(job_id)]], "left_out": []}
        return b"".join(write_safetensors(head, [LayerArrays(0, {"pairs.distance": np.zeros((1, 1))})]))

    def delete(self, job_id):
        self.deleted.append(job_id)

    def cancel(self, job_id):
        self.cancelled.append(job_id)


def portions(count):
    for number in range(count):
        yield Portion(
            [Sentence(number, f"s{number}")], ExperimentRequest(sentences=[{"text": f"s{number}"}], model="known")
        )


def texts(place, count):
    return [head["sentences"][0] for _, head, _ in place.measured(portions(count))]


def test_results_come_in_order_and_are_forgotten_once_they_are_kept():
    service = Service()
    assert texts(There(service, "known"), 5) == [f"s{k}" for k in range(5)]
    assert service.deleted == [str(k) for k in range(5)] and not service.cancelled


def test_so_many_are_sent_ahead_and_no_more():
    service = Service()
    first = There(service, "known").measured(portions(100))
    next(first)
    assert len(service.sent) == there.AHEAD
    next(first)
    assert len(service.sent) == there.AHEAD + 1


def test_what_the_service_lost_is_sent_again():
    service = Service(gone=["1"])
    assert texts(There(service, "known"), 3) == ["s0", "s1", "s2"]
    assert service.sent == ["s0", "s1", "s2", "s1"] and service.deleted == ["0", "3", "2"]


def test_what_is_lost_again_and_again_ends_the_run():
    with pytest.raises(ServiceError, match="expired"):
        texts(There(Service(gone=map(str, range(99))), "known"), 2)


def test_a_failure_ends_the_run_and_what_waits_is_cancelled():
    service = Service(failed=["1"])
    with pytest.raises(ServiceError):
        texts(There(service, "known"), 4)
    assert service.cancelled == ["1", "2", "3"] and service.deleted == ["0"]


def test_a_model_whose_layers_are_not_known_is_refused():
    assert There(Service(), "known").num_layers == 2
    with pytest.raises(InvalidRequest, match="how many layers"):
        There(Service(), "other").num_layers  # noqa: B018


def test_a_service_that_stays_away_is_told_nothing_more_and_what_to_do_is_said():
    service = Service()

    def nobody(job_id):
        service.cancelled.append(job_id)
        raise ServiceUnreachable("no answer from http://gone")

    service.wait = service.cancel = nobody
    with pytest.raises(ServiceUnreachable, match=r"no answer from http://gone; then the same command goes on"):
        texts(There(service, "known"), 4)
    assert service.cancelled == ["0", "0"]  # waited for once, cancelled once: no other job's cancelling is tried


def test_a_service_is_asked_for_its_layers_without_patience_and_for_the_rest_with_an_hours():
    service, asked = Service(), []

    def with_retries(*patience):
        asked.append(patience)
        return Service()

    service.with_retries = with_retries
    assert texts(There(service, "known"), 2) == ["s0", "s1"]
    assert asked == [(there.MAX_RETRIES, there.RETRY_SECONDS)] and not service.sent
