"""The guard of routes: who a request comes from, and whether they may make it.

The check hangs on the routers, not on the routes, and the scope follows from the method: a new route is guarded
without a word of its own.
"""

# Dependencies are coroutines throughout: FastAPI has a thread call any that is not, and each costs a tenth of a POST.
from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import Response

from service.http.errors import Forbidden, Unauthorized
from service.http.problems import responses
from service.keys.keyring import Caller
from service.keys.scopes import SCOPES, Scope
from service.keys.source import KeySource

REFUSALS = responses("unauthorized", "forbidden")
"""Refusals that any guarded route may answer with, for its description."""

REMEDY = (
    "send the header Authorization: Bearer lig_… (on the command line --api-key or LIG_API_KEY, in Python api_key=, "
    "in the browser the field Key under more)"
)
"""How each kind of caller sends its key."""

SAFE_METHODS = {"GET", "HEAD"}
bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of this service (`lig keys new NAME`). Not needed where the service runs without keys.",
)


Check = Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[None]]


def guard(keys: KeySource, scope: Scope | None = None) -> Check:
    """A dependency for routers: raises Unauthorized or Forbidden, and notes the caller for the handler.

    Without `scope`, a request that changes nothing needs `read` and any other needs `explain`.
    """

    async def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
    ) -> None:
        sender = keys.caller(credentials.credentials if credentials else None)
        if sender is None:
            reason = "this key is not known" if credentials else "no key was sent"
            raise Unauthorized(f"{reason}; {REMEDY}")
        needed = scope or ("read" if request.method in SAFE_METHODS else "explain")
        if needed not in sender.scopes:
            raise Forbidden(
                f"this needs the scope '{needed}' ({SCOPES[needed]}), and the key of '{sender.name}' has "
                f"{', '.join(sorted(sender.scopes))}; ask for a key with that scope"
            )
        request.state.caller = sender

    return check


def plain_route(check: Check) -> type[APIRoute]:
    """The class of routes whose handler takes the request and gives the response, for those that are called most.

    FastAPI describes them and no more: what it does at a call, to find dependencies and parameters, makes a tenth of a
    POST. So the guard is asked here, and not as the dependency by which it is described.
    """

    class PlainRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = self.endpoint

            async def handle(request: Request) -> Response:
                await check(request, await bearer(request))
                response: Response = await handler(request)
                return response

            return handle

    return PlainRoute


async def caller(request: Request) -> Caller:
    """The caller that the guard found."""
    return request.state.caller


CurrentCaller = Annotated[Caller, Depends(caller)]
"""For a handler's parameter."""


async def owner(caller: CurrentCaller) -> str:
    """The name that owns the jobs that the request is about: the caller's."""
    return caller.name


Owner = Annotated[str, Depends(owner)]
"""For the parameter of a handler that needs no more of the caller."""
