"""Tells ended jobs to their webhooks, at least once each; every API process shares in it.

A host is looked up here, and the connection goes to an address that was judged: a name that leads elsewhere a moment
later is of no use to anyone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx
import orjson
from fastapi.concurrency import run_in_threadpool

from lig_core.serving.queue.counters import Outcome
from lig_core.serving.queue.job_errors import JobDamaged
from service.http.errors import JobExpired, JobNotFound, StoreUnavailable
from service.jobs.job import Claim, Job, JobStore
from service.jobs.resource import job_json
from service.webhooks.addresses import is_private
from service.webhooks.policy import WebhookPolicy

LOOK_EVERY_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
LEASE_SECONDS = 60.0
"""Longer than an attempt takes: only the webhooks of a process that died are claimed by another."""
AT_ONCE = 32
JITTER = 0.1
"""How much later than planned an attempt may be, so that those that failed together do not return together."""

log = logging.getLogger(__name__)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Undelivered(Exception):
    """An attempt failed; the text says why."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host."""
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in addresses]


class Deliveries:
    """Delivers the webhooks that are due. `retries` are the seconds to wait after each attempt that failed.

    root: what the paths of links in them begin with.
    """

    def __init__(
        self, jobs: JobStore, policy: WebhookPolicy, retries: Sequence[float], root: str, resolve: Resolve = resolve
    ) -> None:
        self._jobs, self._policy, self._retries, self._root, self._resolve = jobs, policy, retries, root, resolve
        # No connection is kept: it may have been made to the same address for another host.
        self._http = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0),
        )
        self._under_way: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while the block runs; what is under way then is left to its lease."""
        looking = asyncio.create_task(self._look(), name="webhooks") if self._policy.can_sign else None
        try:
            yield
        finally:
            tasks = [*self._under_way, *([looking] if looking else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._http.aclose()

    async def _look(self) -> None:
        while True:
            try:
                free = AT_ONCE - len(self._under_way)
                claims = await run_in_threadpool(self._jobs.claim_webhooks, free, LEASE_SECONDS) if free else []
                for claim in claims:
                    task = asyncio.create_task(self._deliver(claim))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
            except StoreUnavailable as error:
                log.warning("webhooks: %s (%s)", error.detail, error.__cause__)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _deliver(self, claim: Claim) -> None:
        """One attempt, and what follows from it."""
        again: float | None = None
        outcome: Outcome = "dropped"
        try:
            job = await run_in_threadpool(self._jobs.get, None, claim.job)
            if job.webhook is not None and job.status.final:
                await self._send(job, job.webhook)
                outcome = "delivered"
        except (JobNotFound, JobExpired, JobDamaged):
            pass  # nobody is to be told of it any more, or can be
        except StoreUnavailable:
            return  # claimed again once the lease ends
        except Undelivered as error:
            again = self._pause(claim.attempt)
            outcome = "given_up" if again is None else "retried"
            outlook = "given up" if again is None else f"next attempt in {again:.0f} s"
            log.warning("webhook, attempt %d: %s; %s", claim.attempt, error, outlook, extra={"job_id": claim.job})
        with contextlib.suppress(StoreUnavailable):
            await run_in_threadpool(self._jobs.settle_webhook, claim, outcome, again)

    def _pause(self, attempt: int) -> float | None:
        if attempt > len(self._retries):
            return None
        return self._retries[attempt - 1] * random.uniform(1.0, 1.0 + JITTER)

    async def _send(self, job: Job, webhook: str) -> None:
        """Send; raises Undelivered. 410 is an answer too: the receiver wants no more of it."""
        fault = self._policy.fault(webhook)
        if fault is not None:
            raise Undelivered(fault)
        body = payload(job, self._root)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "lig-service",
            **self._policy.headers(f"msg_{job.id}_{job.status}", body),
            **({"traceparent": job.traceparent} if job.traceparent else {}),
        }
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._post(httpx.URL(webhook), body, headers)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise Undelivered(f"no answer ({type(error).__name__})") from None
        if not (200 <= status < 300 or status == httpx.codes.GONE):
            raise Undelivered(f"answered {status}")

    async def _post(self, url: httpx.URL, body: str, headers: dict[str, str]) -> int:
        """The status of the answer, of which no more is read."""
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await self._resolve(url.host, port)
        if not self._policy.allows(url):
            addresses = [address for address in addresses if not is_private(address)]
        if not addresses:
            raise Undelivered("its host has no public address")
        request = self._http.build_request(
            "POST",
            url.copy_with(host=addresses[0]),
            content=body,
            headers={**headers, "Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        answer = await self._http.send(request, stream=True)
        await answer.aclose()
        return answer.status_code


def payload(job: Job, root: str) -> str:
    """The body that is sent: the job as GET shows it, without its result."""
    ended = job.finished_at.isoformat() if job.finished_at else None
    event = {"type": f"job.{job.status}", "timestamp": ended, "data": orjson.Fragment(job_json(job, root))}
    return orjson.dumps(event).decode()
