"""A sender of HTTP requests that costs next to nothing: what is measured beside it is the service."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE_SECONDS = 120.0
IDLE_SECONDS = 2.0
"""How long a connection may be idle and be used again; the server closes those that are idle for longer than that."""
TEXT = "The old hangar near the river was quiet."


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Connection:
    """One connection, kept open. The service's own answers are all it understands."""

    port: int
    reader: asyncio.StreamReader | None = field(default=None)
    writer: asyncio.StreamWriter | None = field(default=None)

    async def open(self) -> None:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        await self.open()
        assert self.writer is not None
        content = b"" if body is None else json.dumps(body).encode()
        given = {"Host": "localhost", "Content-Length": str(len(content)), **headers}
        if body is not None:
            given["Content-Type"] = "application/json"
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send, and read an answer that says its length."""
        await self.open()
        began = time.perf_counter()
        await self.send(method, path, body, **headers)
        assert self.reader is not None
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        found = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        content = await self.reader.readexactly(int(found["content-length"]))
        return Answer(int(first.split()[1]), found, content, time.perf_counter() - began)

    async def read_until(self, mark: bytes) -> None:
        """Read an answer without a length up to a mark in it."""
        assert self.reader is not None
        await self.reader.readuntil(mark)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "model": "minilm", "granularity": "layer", **more}


async def closed_loop(
    port: int, total: int, at_once: int, text: str, path: str = "/v1/explain"
) -> tuple[list[Answer], float]:
    """So many distinct posts, so many under way at any time; and the seconds it took. `text` has a {} for a number."""
    numbers, answers = iter(range(total)), []

    async def client() -> None:
        connection = Connection(port)
        for number in numbers:
            answers.append(await connection.ask("POST", path, body(text.format(number))))
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return answers, time.perf_counter() - began


async def open_loop(port: int, rate: float, seconds: float, text: str) -> list[Answer]:
    """Distinct posts at a steady rate, however long each takes; its time counts from when it was due."""
    free: list[tuple[Connection, float]] = []
    answers: list[Answer] = []
    began = time.perf_counter()

    async def post(number: int) -> None:
        due = began + number / rate
        connection, freed = free.pop() if free else (Connection(port), math.inf)
        if time.perf_counter() - freed > IDLE_SECONDS:
            connection.close()
        answer = await connection.ask("POST", "/v1/explain", body(text.format(number)))
        answer.seconds = time.perf_counter() - due
        answers.append(answer)
        free.append((connection, time.perf_counter()))

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(post(number))
    for connection, _ in free:
        connection.close()
    return answers


def wait_until_ready(port: int, path: str = "/readyz") -> None:
    """Return once this path is answered well; raises RuntimeError."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with httpx.Client(trust_env=False, timeout=60) as http:
        while time.monotonic() < deadline:
            if http.get(f"http://127.0.0.1:{port}{path}").is_success:
                return
            time.sleep(0.2)
    raise RuntimeError(f"{path} did not become ready")
