"""Many listeners on one job: `python -m benchmarks.listeners [LISTENERS …] [-- CHECKOUT …]`.

How long after the end of a job its last event has reached everyone. The listeners are several processes that do no
more than look for the end in what comes, so that they are not the limit. They open first; then the job is moved to
its end by hand, so that no worker takes a processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import product
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.http_load import TEXT, Connection, body, wait_until_ready
from benchmarks.turns import ROOT, SERVICE, serving
from service.process.embedded import embedded_redis
from tests.running.by_hand import ByHand
from tests.support.made_results import made_result

LAYERS = 6
PROCESSES = 2
LISTENERS = (2000, 5000)
ROUNDS = 3
END = b"event: succeeded"
KEPT = len(END) - 1
PATIENCE_SECONDS = 120.0


def listen(port: int, path: str, count: int, pipe: Pipe) -> None:
    """Open so many streams, say so, and then when each of them brought the last event."""
    selector, ends = selectors.DefaultSelector(), []
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(request)
        selector.register(stream, selectors.EVENT_READ, bytearray())
    waiting, told = count, False
    while waiting and (ready := selector.select(PATIENCE_SECONDS)):
        for key, _ in ready:
            received = key.fileobj.recv(2**18)  # type: ignore[union-attr]
            if not received:
                raise RuntimeError("a stream ended before its job")
            tail = key.data
            if not told and not tail:
                waiting -= 1  # to have begun
            if told and END in bytes(tail) + received:
                ends.append(time.time())
                selector.unregister(key.fileobj)
                waiting -= 1
            tail[:] = (bytes(tail) + received)[-KEPT:]
        if not waiting and not told:
            pipe.send("listening")
            waiting, told = count, True
    pipe.send(ends)


def seconds_to_all(port: int, text: str, count: int, by_hand: ByHand) -> float:
    """Seconds from the end of one job to its last event at the 95th of a hundred listeners."""
    job = asyncio.run(_ask(port, "POST", "/v1/explain", body(text)))
    parts = [count // PROCESSES] * PROCESSES
    pipes, processes = [], []
    for part in parts:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=listen, args=(port, f"{job['links']['self']}/events", part, there))
        process.start()
        pipes.append(here)
        processes.append(process)
    for pipe in pipes:
        assert pipe.recv() == "listening"
    by_hand.finish_with(by_hand.start(), made_result(indices=tuple(range(LAYERS))))
    ends = sorted(end for pipe in pipes for end in pipe.recv())
    for process in processes:
        process.join()
    if len(ends) != sum(parts):
        raise RuntimeError(f"{len(ends)} of {sum(parts)} listeners heard of the end")
    job = asyncio.run(_ask(port, "GET", f"{job['links']['self']}?embed=false"))
    return ends[int(len(ends) * 0.95)] - datetime.fromisoformat(job["finished_at"]).timestamp()


async def _ask(port: int, method: str, path: str, content: Any = None) -> Any:
    connection = Connection(port)
    answer = await connection.ask(method, path, content)
    connection.close()
    return answer.json


def by_turns(counts: Sequence[int], checkouts: Sequence[Path]) -> dict[str, Any]:
    """For each number of listeners the seconds of every round, of this checkout and of the others."""
    report: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(embedded_redis(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        connection = stack.enter_context(Redis.from_url(redis.url))
        places = {"LIG_MAX_CONNECTIONS": "15000", "LIG_MAX_CLIENT_CONNECTIONS": "7500"}
        served = []
        for number, root in enumerate((ROOT, *checkouts)):
            queue = f"listeners{number}"
            port, _ = stack.enter_context(serving(SERVICE, root, redis.url, LIG_QUEUE=queue, **places))
            wait_until_ready(port, "/livez")
            by_hand = ByHand(redis.url, connection, queue=queue)
            served.append((root, port, by_hand))
        for count, number in product(counts, range(ROUNDS)):
            for root, port, by_hand in served:
                seconds = seconds_to_all(port, f"{TEXT} {count} {number}", count, by_hand)
                report.setdefault(str(root), {}).setdefault(str(count), []).append(round(seconds, 3))
                print(root, count, round(seconds, 3), flush=True)
    return report


if __name__ == "__main__":
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    numbers = [int(each) for each in given[:at]] or list(LISTENERS)
    print(json.dumps(by_turns(numbers, [Path(each).resolve() for each in given[at + 1 :]]), indent=2))
