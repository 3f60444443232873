"""The process that holds the models: `python -m worker.compute.child`, started by the worker and never by hand.

It takes one job at a time from standard input, or some that are done together, and answers on what was standard output,
in lines of JSON:

    in   [{"execution": …, "job": {"computation": …, "kind": …, "request": {…},
          "model": {"reference": {…}, "identity": …}, "about": what log lines carry}}, …]
    out  {"ready": true} or {"unfit": "why"}, once;  then for each job, with its "execution", {"done": {…}},
          {"error": {…}} or {"stopped": true};  each with "holds": the models in memory and the bytes used

It decides nothing about a job's state: the worker does, and keeps the lease.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import orjson

from lig_core.errors import Cancelled, LigError
from lig_core.kinds import KINDS
from lig_core.loading.model_pool import ModelPool
from lig_core.models.catalog import read_card
from lig_core.models.references import resolve
from lig_core.serving import logs
from lig_core.serving.processes import die_with
from lig_core.serving.queue.moves import Moves, Run
from worker.compute.announcing import Announcer
from worker.compute.backend import Backend, ShouldStop
from worker.compute.explainer import Asked, Explainer, error_document
from worker.compute.interrupt import Interrupt
from worker.compute.memory import resident_memory
from worker.compute.progress import ProgressReport
from worker.connection import connect_briefly, connect_for_parts
from worker.settings import PARENT_VARIABLE, Settings

log = logging.getLogger(__name__)


def main(make_backend: Callable[[], Backend] = Backend, make_explainer: Callable[..., Explainer] = Explainer) -> None:
    """Load the models, then run jobs until the worker closes the pipe or dies."""
    die_with(int(os.environ[PARENT_VARIABLE]))
    requests, replies = _control_channel()
    for ignored in (signal.SIGINT, signal.SIGTERM):  # what to do then is the worker's decision
        signal.signal(ignored, signal.SIG_IGN)
    interrupt, settings = Interrupt(), Settings()
    logs.configure(settings.log_format, settings.log_level)
    url = settings.redis_address
    try:
        folder = settings.models_folder
        cards = [read_card(resolve(name, folder), folder) for name in settings.preload]
        backend = make_backend()
        pool = ModelPool(backend, settings.device, settings.model_budget or backend.memory(settings.device) // 2)
        for card in cards:
            pool.get(card, "float32")
    except LigError as error:
        _answer(replies, {"unfit": error.detail})
        return
    explainer = make_explainer(backend, pool, settings.models_folder, connect_for_parts(url), settings.queue)
    progress = Moves(connect_briefly(url), settings.queue)
    Announcer(connect_briefly(url), settings.queue, settings.models_folder).start()
    _answer(replies, {"ready": True, "holds": holds(pool)})
    for line in requests:
        asked = [_Asked(settings.queue, progress, **message) for message in orjson.loads(line)]
        with interrupt.during_job():
            for one, answer in answers(asked, explainer, interrupt.requested):
                _answer(replies, {**answer, "execution": one.execution, "holds": holds(pool)})


@dataclass(frozen=True)
class _Asked:
    """A job as it came from the worker."""

    queue: str
    moves: Moves
    execution: str
    job: dict[str, Any]

    def parsed(self) -> Asked:
        """Raises InvalidRequest."""
        run = Run(self.queue, self.job["computation"], self.execution)
        request = KINDS[self.job["kind"]].parse(self.job["request"])
        return Asked(run, request, ProgressReport(lambda progress: self.moves.report(run, progress)), self.job["model"])


def answers(
    asked: Sequence[_Asked], explainer: Explainer, should_stop: ShouldStop
) -> Iterator[tuple[_Asked, dict[str, Any]]]:
    """What to tell the worker of each job, as it ends: some that came together share sequences, and where any of them
    goes wrong, what is left is done one by one."""
    left = list(asked)
    if len(asked) > 1:
        try:
            for place, done in explainer.explain_together([one.parsed() for one in asked], should_stop):
                left.remove(asked[place])
                yield asked[place], {"stopped": True} if done is None else {"done": asdict(done)}
        except Cancelled:
            pass  # as each of them says by itself
        except Exception as error:
            expected = isinstance(error, LigError)
            log.info("%d jobs one by one: %s", len(left), error, exc_info=None if expected else error)
    for one in left:
        with logs.only_about(**one.job["about"]):
            answer = {"stopped": True} if should_stop() else run_one(one, explainer, should_stop)
        yield one, answer


def run_one(asked: _Asked, explainer: Explainer, should_stop: ShouldStop) -> dict[str, Any]:
    """Run one job; what to tell the worker."""
    try:
        done = explainer.explain(asked.parsed(), should_stop)
    except Cancelled:
        return {"stopped": True}
    except Exception as error:
        return {"error": error_document(error, asked.job["computation"])}
    return {"done": asdict(done)}


def holds(pool: ModelPool) -> dict[str, Any]:
    """The models in memory, and what this process takes: bytes of main memory, and of the GPU where there is one."""
    return {"models": pool.contents(), "resident": resident_memory(), "device": pool.backend.device_memory_used()}


def _control_channel() -> tuple[BinaryIO, BinaryIO]:
    replies = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what libraries print must not end up in the answers
    return sys.stdin.buffer, replies


def _answer(replies: BinaryIO, message: dict[str, Any]) -> None:
    replies.write(orjson.dumps(message) + b"\n")


if __name__ == "__main__":
    main()
