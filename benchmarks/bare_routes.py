"""Routes that do the least that a queueing service can: `python -m benchmarks.bare_routes FD`, on a listening socket.

`/rq` checks a body and enqueues it with RQ, `/xadd` adds it to a stream; neither knows of models, tenants, limits,
idempotency or coalescing. What the service costs is told against them, in the same run.
"""

from __future__ import annotations

import os
import socket
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from redis import Redis
from rq import Queue


class Body(BaseModel):
    text: str
    model: str
    granularity: str


def app(redis: Redis) -> FastAPI:
    """Both routes, as FastAPI's own guide would have them."""
    bare, queue = FastAPI(), Queue("bare", connection=redis)

    @bare.post("/rq", status_code=202)
    def enqueue(body: Body) -> dict[str, str]:
        return {"id": queue.enqueue("bare.task", body.model_dump()).id}

    @bare.post("/xadd", status_code=202)
    def add(body: Body) -> dict[str, str]:
        return {"id": str(redis.xadd("bare", {"body": body.model_dump_json()}))}

    return bare


if __name__ == "__main__":
    config = uvicorn.Config(app(Redis.from_url(os.environ["LIG_REDIS_URL"])), log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
