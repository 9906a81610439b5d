"""Who is calling: API keys and worker tokens, checked against what the route says that opens it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from runflow import errors
from runflow.web.rate_limits import RateLimits
from runflow.web.route_table import Access, Needed, RouteTable

bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer rf_live_…`.")
"""Only tells OpenAPI about the header; `principal` reads it itself, so that every failure has the one envelope."""


_CHECKED = "principal"
"""In the request's state: its caller, once checked."""
_WORKER = "worker_token"
"""Likewise: the id of the token of a worker."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A valid API key and the organization it acts for."""

    key_id: UUID
    org_id: UUID
    org_slug: str
    scopes: frozenset[str]
    expires_at: datetime | None = None
    rate_limit: int | None = None
    """Requests per second, instead of the server's own limit."""


class Authenticator(Protocol):
    """Finds who holds a token."""

    def remembered(self, token: str) -> Principal | None:
        """Return the holder of an API key without asking the database; None when that is not enough."""

    def remembered_worker(self, token: str) -> UUID | None:
        """Return the id of a worker token without asking the database; None when that is not enough."""

    async def principal(self, token: str) -> Principal | None:
        """Return the holder of an API key, or None when it is unknown, expired or revoked."""

    async def worker(self, token: str) -> UUID | None:
        """Return the id of a worker token, or None when it is unknown or revoked."""

    async def note_use(self) -> None:
        """Write down which keys were used since the last call."""


def _token(request: Request) -> str:
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise errors.Unauthorized(headers={"WWW-Authenticate": "Bearer"})
    return token


class _Parts(Protocol):
    """What is needed of the process's services, which are made of rooms above this one."""

    authenticator: Authenticator
    limits: RateLimits
    routes: RouteTable


def _parts(request: Request) -> _Parts:
    parts: _Parts = request.app.state.services
    return parts


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


async def principal(request: Request) -> Principal:
    """Return the caller, if one of the route's scopes is held. Raises what `authorize` raises."""
    found: Principal | None = request.scope["state"].get(_CHECKED)
    return found or await authorize(request, _parts(request).routes.access[request.method, request.scope["route"].path])


async def let_pass(request: Request, needed: Needed) -> None:
    """Return where the caller may use a route that this opens; else raise what `authorize` or `worker` raises."""
    if needed is Access.WORKER:
        await worker(request)
    elif needed not in (Access.PUBLIC, Access.SIGNED) and _CHECKED not in request.scope["state"]:
        await authorize(request, needed)


async def authorize(request: Request, needed: Needed) -> Principal:
    """Return the caller of a route that this opens, checked and counted once per request.

    Raises `Unauthorized`, `RateLimited`, `PermissionDenied` (naming the scopes that would do) or
    `OrganizationMembershipRequired`.
    """
    parts = _parts(request)
    token = _token(request)
    found = parts.authenticator.remembered(token)
    if found is None:
        parts.limits.check_stranger(_address(request))
        found = await parts.authenticator.principal(token)
    if found is None:
        parts.limits.count_wrong_token(_address(request))
        raise errors.Unauthorized(headers={"WWW-Authenticate": "Bearer"})
    parts.limits.check_key(found.key_id, found.rate_limit)
    if needed is not Access.ANY_KEY and not (isinstance(needed, frozenset) and needed & found.scopes):
        names = " or ".join(f"`{scope}`" for scope in sorted(needed)) if isinstance(needed, frozenset) else str(needed)
        operator_only = needed in parts.routes.operator_scopes
        whose = ", which only keys of the operator's organization hold" if operator_only else ""
        raise errors.PermissionDenied(f"This API key lacks the scope for this route: it needs {names}{whose}.")
    organization = request.headers.get("X-Organization-Id")
    if organization and organization.strip().lower() != str(found.org_id):
        raise errors.OrganizationMembershipRequired
    request.scope["state"][_CHECKED] = found
    return found


async def worker(request: Request) -> UUID:
    """Let only workers pass; return the id of their token. Raises `Unauthorized`, or `RateLimited` for wrong tokens."""
    known: UUID | None = request.scope["state"].get(_WORKER)
    if known is not None:
        return known
    parts = _parts(request)
    token = _token(request)
    found = parts.authenticator.remembered_worker(token)
    if found is None:
        parts.limits.check_stranger(_address(request))
        found = await parts.authenticator.worker(token)
    if found is None:
        parts.limits.count_wrong_token(_address(request))
        raise errors.Unauthorized(
            "Send a valid worker token as `Authorization: Bearer rf_work_…`; `runflow keys create-worker` makes one.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.scope["state"][_WORKER] = found
    return found


Caller = Annotated[Principal, Depends(principal)]
"""The authenticated caller of a route."""
WorkerToken = Annotated[UUID, Depends(worker)]
"""The id of the token that a worker sent."""
