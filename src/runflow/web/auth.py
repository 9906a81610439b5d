"""Who is calling: API keys and worker tokens, checked against the table in `scopes.py`."""

from dataclasses import dataclass
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from runflow import errors
from runflow.web.scopes import ROUTE_SCOPES, Access

bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer rf_live_…`.")
"""Only tells OpenAPI about the header; `principal` reads it itself, so that every failure has the one envelope."""


_CHECKED = "principal"
"""In the request's state: its caller, once checked."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A valid API key and the organization it acts for."""

    key_id: UUID
    org_id: UUID
    org_slug: str
    scopes: frozenset[str]


class Authenticator(Protocol):
    """Finds who holds a token."""

    async def principal(self, token: str) -> Principal | None:
        """Return the holder of an API key, or None when it is unknown, expired or revoked."""

    async def is_worker(self, token: str) -> bool:
        """Tell whether this is a valid worker token."""


def _token(request: Request) -> str:
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise errors.Unauthorized(headers={"WWW-Authenticate": "Bearer"})
    return token


def _authenticator(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.services.authenticator
    return authenticator


async def principal(request: Request) -> Principal:
    """Return the caller, if one of the route's scopes is held. Raises what `authorize` raises."""
    found: Principal | None = request.scope["state"].get(_CHECKED)
    return found or await authorize(request, request.method, request.scope["route"].path)


async def authorize(request: Request, method: str, path: str) -> Principal:
    """Return the caller of the route with this template, checked once per request.

    Raises `Unauthorized`, `PermissionDenied` (naming the scopes that would do) or `OrganizationMembershipRequired`.
    """
    found = await _authenticator(request).principal(_token(request))
    if found is None:
        raise errors.Unauthorized(headers={"WWW-Authenticate": "Bearer"})
    needed = ROUTE_SCOPES[(method, path)]
    if needed is not Access.ANY_KEY and not (isinstance(needed, frozenset) and needed & found.scopes):
        names = " or ".join(f"`{scope}`" for scope in sorted(needed)) if isinstance(needed, frozenset) else str(needed)
        raise errors.PermissionDenied(f"This API key lacks the scope for this route: it needs {names}.")
    organization = request.headers.get("X-Organization-Id")
    if organization and organization.strip().lower() != str(found.org_id):
        raise errors.OrganizationMembershipRequired
    request.scope["state"][_CHECKED] = found
    return found


async def worker(request: Request) -> None:
    """Let only workers pass. Raises `Unauthorized`."""
    if not await _authenticator(request).is_worker(_token(request)):
        raise errors.Unauthorized(
            "Send a valid worker token as `Authorization: Bearer rf_work_…`; `runflow keys create-worker` makes one.",
            headers={"WWW-Authenticate": "Bearer"},
        )


Caller = Annotated[Principal, Depends(principal)]
"""The authenticated caller of a route."""
