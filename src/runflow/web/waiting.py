"""How long a caller waits for the end of what it asked for: `?wait=SECONDS`, or `Prefer: wait=N` of RFC 7240.

`docs/api/runs.md`, "Waiting for the end". A request that waits holds one of its organization's places
(RUNFLOW_MAX_WAITING), and ends as soon as its caller is gone.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import Depends, Query, Request
from pydantic import AfterValidator, Field, WithJsonSchema
from starlette.responses import Response

from runflow import errors
from runflow.db.unit_of_work import current_unit
from runflow.web.auth import Principal
from runflow.web.parameters import OnlyKnown
from runflow.web.rate_limits import RateLimits
from runflow.web.route_table import RouteSpec

MAX_WAIT_SECONDS = 60.0
"""Longest wait of one request; more is cut to it, not refused."""

_PREFERRED = re.compile(r'(?:^|,)\s*wait\s*(?:=\s*"?(\d{1,9})"?\s*)?(?=[,;]|$)', re.IGNORECASE)


def _clamped(seconds: float) -> float:
    return min(seconds, MAX_WAIT_SECONDS)


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_clamped)]

OF_A_READ = f"Answer as soon as it has ended, or after so many seconds, {MAX_WAIT_SECONDS:.0f} at most."
OF_A_DISPATCH = (
    f"Answer when it has ended, or after so many seconds, {MAX_WAIT_SECONDS:.0f} at most, with what it is then. "
    "`Prefer: wait=N` says the same."
)
"""What documents say of the parameter, where something is read and where something is created."""

PLAIN_WAIT = re.compile(rb"(?:wait=\d{1,9}(?:\.\d{1,9})?)?")
"""The query strings of hot routes that may wait: nothing, or a plain `wait` alone."""


def plain_wait(request: Request) -> float | None:
    """Return the seconds of a query string that `PLAIN_WAIT` matches; None where it has none."""
    given = request.scope["query_string"].removeprefix(b"wait=")
    return _clamped(float(given)) if given else None


Wait = Annotated[_Seconds, Query(description=OF_A_READ)]
"""The query parameter of routes that read what may not have ended."""


async def preferred(
    request: Request,
    wait: Annotated[
        _Seconds | None,
        WithJsonSchema({"type": "number", "minimum": 0}),  # absent, and never null
        Query(description=OF_A_DISPATCH),
    ] = None,
    _: OnlyKnown = None,
) -> float:
    """Return for how many seconds the caller of a POST waits, 0 for not at all (FastAPI dependency).

    Raises `ValidationFailed` for a parameter that the route does not have.
    """
    if current_unit() is not None:
        return 0.0  # nothing begins before the unit commits: `follow` waits afterwards
    return wait_of_headers(request) if wait is None else wait


def wait_of_headers(request: Request) -> float:
    """Return the seconds of `Prefer: wait=N`; a bare `wait` is the longest. What cannot be read is no preference."""
    for header in request.headers.getlist("prefer"):
        found = _PREFERRED.search(header)
        if found is not None:
            return MAX_WAIT_SECONDS if found[1] is None else _clamped(float(found[1]))
    return 0.0


Waiting = Annotated[float, Depends(preferred)]
"""The parameter of a route that creates what the caller may wait for."""


def place(request: Request, caller: Principal, seconds: float) -> AbstractContextManager[None]:
    """Hold a place among the organization's waiting requests, if there is anything to wait for.

    Raises `RateLimited` when none is left: so enter it before anything is created.
    """
    limits: RateLimits = request.app.state.services.limits
    return limits.waiting(caller.org_id) if seconds else nullcontext()


Follow = Callable[[Request, Principal, UUID, float], Awaitable[Response]]
"""Answers a POST whose caller waits, once what it created, of this id, is committed."""


async def follow(request: Request, caller: Principal, route: RouteSpec, created: bytes) -> Response | None:
    """Wait for what a POST with an `Idempotency-Key` created, now or the first time; `created` was its first answer.

    Returns None where nobody waits, or nothing can be waited for: then that answer is the right one.
    """
    if route.follow is None:
        return None
    try:
        asked = request.query_params.get("wait")
        seconds = wait_of_headers(request) if asked is None else _clamped(float(asked))
        with place(request, caller, seconds):
            if seconds > 0:
                return await route.follow(request, caller, UUID(orjson.loads(created)["id"]), seconds)
    except (errors.RunflowError, ValueError):
        pass  # what was created stands: its caller gets that, without the wait
    return None
