"""Accepted posts a second of the service and of bare routes, by turns: `python -m benchmarks.turns [CHECKOUT …]`.

All servers run at once on one Redis, each is asked in turn, and what is told are ratios within a round: the speed of
the machine, and who else is on it, cancel out. A checkout is another version of this service, to see what a change
gained.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.http_load import closed_loop, wait_until_ready
from service.process import child
from service.process.embedded import embedded_redis

ROOT = Path(__file__).parents[1]
SERVICE = ("-m", "service.process.server", "--listener-fd")
BARE = ("-m", "benchmarks.bare_routes")
ROUNDS, POSTS, AT_ONCE = 12, 400, 16
WARM_POSTS = 200


@dataclass(frozen=True)
class Asked:
    """A server, the path of its route, and its process."""

    name: str
    port: int
    path: str
    process: psutil.Process


@contextlib.contextmanager
def serving(arguments: Sequence[str], root: Path, redis_url: str, **variables: str) -> Iterator[tuple[int, int]]:
    """A server of this checkout while the block runs: its port and its process id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8192)
        with contextlib.chdir(root):  # whose modules come first
            process = child.start(
                [sys.executable, *arguments, str(listener.fileno())],
                environment={**os.environ, "PYTHONPATH": str(root), "LIG_REDIS_URL": redis_url, **variables},
                keep_open=[listener.fileno()],
                quiet=True,
            )
        try:
            yield listener.getsockname()[1], process.pid
        finally:
            child.stop(process, 10)


def against_bare(checkouts: Sequence[Path] = ()) -> dict[str, Any]:
    """Posts a second and processor time a post of each; the medians of the ratios to the route with RQ."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(embedded_redis(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        servers = []
        for number, root in enumerate((ROOT, *checkouts)):
            name = "service" if root == ROOT else str(root)
            queue = {"LIG_QUEUE": f"turns{number}", "LIG_MAX_BACKLOG": "1e9"}
            port, pid = stack.enter_context(serving(SERVICE, root, redis.url, **queue))
            wait_until_ready(port, "/livez")
            servers.append(Asked(name, port, "/v1/explain", psutil.Process(pid)))
        port, pid = stack.enter_context(serving(BARE, ROOT, redis.url))
        wait_until_ready(port, "/docs")
        servers += [Asked(path, port, f"/{path}", psutil.Process(pid)) for path in ("rq", "xadd")]
        for server in servers:
            _turn(server, "warm {}", WARM_POSTS)
        rounds = []
        for number in range(ROUNDS):
            order = servers[number % len(servers) :] + servers[: number % len(servers)]
            rounds.append({server.name: _turn(server, f"{number} {{}}", POSTS) for server in order})
    return _medians(rounds, [server.name for server in servers])


def _turn(server: Asked, text: str, posts: int) -> dict[str, float]:
    before = server.process.cpu_times()
    answers, seconds = asyncio.run(closed_loop(server.port, posts, AT_ONCE, text, server.path))
    after = server.process.cpu_times()
    others = [answer for answer in answers if answer.status != 202]
    if others:
        raise RuntimeError(f"{server.name}: {len(others)} answers of another status, such as {others[0]}")
    spent = after.user + after.system - before.user - before.system
    ordered = sorted(answer.seconds for answer in answers)
    return {
        "per_second": posts / seconds,
        "processor_ms": spent / posts * 1e3,
        "p50_ms": statistics.median(ordered) * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


def _medians(rounds: Sequence[dict[str, dict[str, float]]], names: Sequence[str]) -> dict[str, Any]:
    report: dict[str, Any] = {"rounds": len(rounds), "posts_a_turn": POSTS, "at_once": AT_ONCE}
    for name in names:
        figures = {kind: statistics.median(each[name][kind] for each in rounds) for kind in rounds[0][name]}
        for other in ("rq", "xadd"):
            figures[f"to_{other}"] = statistics.median(
                each[name]["per_second"] / each[other]["per_second"] for each in rounds
            )
        figures["processor_to_rq"] = statistics.median(
            each[name]["processor_ms"] / each["rq"]["processor_ms"] for each in rounds
        )
        report[name] = {kind: round(value, 3) for kind, value in figures.items()}
    return report


if __name__ == "__main__":
    print(json.dumps(against_bare([Path(argument).resolve() for argument in sys.argv[1:]]), indent=2))
