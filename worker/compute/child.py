"""The process that holds the models: `python -m worker.compute.child`, started by the worker and never by hand.

It takes one job at a time from standard input and answers on what was standard output, in lines of JSON:

    in   {"queue": …, "computation": …, "execution": …, "kind": …, "request": {…},
          "model": {"reference": {…}, "identity": …}, "about": what log lines carry}
    out  {"ready": true} or {"unfit": "why"}, once;  then for each job, with its "execution", {"done": {…}},
          {"error": {…}} or {"stopped": true};  each with "holds": the models in memory and the bytes used

It decides nothing about a job's state: the worker does, and keeps the lease.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
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
from worker.compute.backend import Backend
from worker.compute.explainer import Explainer, error_document
from worker.compute.interrupt import Interrupt
from worker.compute.memory import resident_memory
from worker.compute.progress import ProgressReport
from worker.connection import connect_briefly, connect_for_parts
from worker.settings import PARENT_VARIABLE, Settings


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
        message = orjson.loads(line)
        with logs.only_about(**message["about"]):
            answer = run_one(message, explainer, interrupt, progress)
        _answer(replies, {**answer, "execution": message["execution"], "holds": holds(pool)})


def run_one(message: dict[str, Any], explainer: Explainer, interrupt: Interrupt, moves: Moves) -> dict[str, Any]:
    """Run one job; what to tell the worker."""
    run = Run(message["queue"], message["computation"], message["execution"])
    report = ProgressReport(lambda progress: moves.report(run, progress))
    try:
        with interrupt.during_job():
            request = KINDS[message["kind"]].parse(message["request"])
            done = explainer.explain(run, request, report, interrupt.requested, message["model"])
    except Cancelled:
        return {"stopped": True}
    except Exception as error:
        return {"error": error_document(error, run.computation)}
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
