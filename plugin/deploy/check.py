"""What a person is told who saves an address and a key: connected and allowed to deploy, or what is wrong."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from .local_server import is_runflow
from .platform import DeployFailed, Platform
from .target import Target

READ, CREATE, EDIT = (f"comfyui-workflows:{action}" for action in ("read", "create", "edit"))
_SECONDS = 10.0
_MAKE_ONE = "Make a key there (`runflow keys create` on its machine) and paste it here."


@dataclass(frozen=True)
class Checked:
    """How a check ended. `ok`: a deployment may begin."""

    ok: bool
    message: str

    def describe(self) -> dict[str, Any]:
        """The same for the page."""
        return asdict(self)


async def check_key(target: Target) -> Checked:
    """Ask the server whose key this is and what it may do."""
    try:
        async with Platform(target) as platform:
            me = await asyncio.wait_for(platform.ask("check", "GET", "/v1/auth/me"), _SECONDS)
    except (DeployFailed, asyncio.TimeoutError) as failure:
        return _failed(target.base, failure)
    organization, key = me.get("organization"), me.get("api_key")
    if not isinstance(me.get("id"), str):
        return _stranger(target.base)
    slug = organization.get("slug") if isinstance(organization, dict) else None
    scopes = key.get("scopes") if isinstance(key, dict) else None
    return _connected(str(slug) if slug else target.origin, scopes if isinstance(scopes, list) else None)


async def check_address(base: str) -> Checked:
    """Ask an address, for which there is no key yet, whether Runflow is there."""
    try:
        async with Platform(Target(base, base, "")) as platform:
            health = await asyncio.wait_for(platform.content("check", "/v1/health"), _SECONDS)
    except (DeployFailed, asyncio.TimeoutError) as failure:
        return _failed(base, failure)
    return (
        Checked(False, f"Runflow answers at {base}. Paste an API key of it.") if is_runflow(health) else _stranger(base)
    )


def _connected(who: str, scopes: list[Any] | None) -> Checked:
    if scopes is None:
        return Checked(True, f"Connected: {who}.")
    missing = [scope for scope in (READ, CREATE) if scope not in scopes]
    if missing:
        lacks = " and ".join(missing)
        return Checked(False, f"Connected: {who}, but this key may not deploy: it lacks {lacks}. {_MAKE_ONE}")
    if EDIT not in scopes:
        return Checked(True, f"Connected: {who}, may deploy new endpoints. For new versions of one it lacks {EDIT}.")
    return Checked(True, f"Connected: {who}, may deploy.")


def _failed(base: str, failure: DeployFailed | asyncio.TimeoutError) -> Checked:
    if not isinstance(failure, DeployFailed):
        return Checked(False, f"{base} could not be reached: it took too long.")
    if failure.unreachable:
        return Checked(False, f"{failure.cause}. Is the server running?")
    if failure.status is not None and 300 <= failure.status < 400:
        return Checked(False, f"{failure.cause}. {failure.next_step}")
    if failure.code is None and (failure.status is None or failure.status < 500):
        return _stranger(base)
    if failure.status == 401:
        return Checked(False, f"{base} does not know this key, or it was revoked. {_MAKE_ONE}")
    return Checked(False, f"{base} answers, but: {failure.cause}")


def _stranger(base: str) -> Checked:
    return Checked(False, f"There is no Runflow server at {base}: something else answers. Check the address.")
