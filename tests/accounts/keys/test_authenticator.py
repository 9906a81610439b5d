"""What a server process remembers of keys, and how soon it forgets: two processes on one database."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from runflow.accounts.keys import queries
from runflow.accounts.keys import service as keys
from runflow.accounts.keys.authenticator import REMEMBER_SECONDS, KeyRing
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org


async def until_connected(services: Services) -> None:
    async with asyncio.timeout(60):
        while not services.hub.connected:
            await asyncio.sleep(0.01)


async def new_key(services: Services) -> tuple[Principal, dict[str, Any]]:
    """A key, and a caller of its organization that may revoke it."""
    org = await new_org(services)
    async with services.db.tenant(org) as connection:
        made = await keys.create(connection, org_id=org, name="x", scopes=["runs:read"])
    return Principal(new_id(), org, "org", frozenset()), made


async def test_a_revocation_reaches_the_other_process_within_a_moment(services: Services, elsewhere: Services) -> None:
    caller, made = await new_key(services)
    await until_connected(elsewhere)
    assert await elsewhere.authenticator.principal(made["key"]) is not None
    await keys.revoke(services, caller, made["id"])
    assert await services.authenticator.principal(made["key"]) is None
    async with asyncio.timeout(REMEMBER_SECONDS / 2):
        while await elsewhere.authenticator.principal(made["key"]) is not None:
            await asyncio.sleep(0.001)


async def test_the_commit_itself_tells_the_others(
    services: Services, elsewhere: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process that revokes dies right after its commit."""
    caller, made = await new_key(services)
    await until_connected(elsewhere)
    assert await elsewhere.authenticator.principal(made["key"]) is not None
    monkeypatch.setattr(services.hub, "publish", lambda *_: None)
    await keys.revoke(services, caller, made["id"])
    async with asyncio.timeout(REMEMBER_SECONDS / 2):
        while await elsewhere.authenticator.principal(made["key"]) is not None:
            await asyncio.sleep(0.001)


async def test_without_any_hint_a_revoked_key_lives_no_longer_than_it_is_remembered(
    services: Services, elsewhere: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, made = await new_key(services)
    await until_connected(elsewhere)
    monkeypatch.setattr(elsewhere.hub, "_dispatch", lambda *_: None)
    assert await elsewhere.authenticator.principal(made["key"]) is not None
    await keys.revoke(services, caller, made["id"])
    assert await elsewhere.authenticator.principal(made["key"]) is not None, "this process has heard nothing"
    moved = time.monotonic() + REMEMBER_SECONDS
    monkeypatch.setattr("runflow.db.hint_cache.time", SimpleNamespace(monotonic=lambda: moved))
    assert await elsewhere.authenticator.principal(made["key"]) is None


async def test_while_hints_cannot_arrive_every_request_asks_the_database(
    services: Services, elsewhere: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, made = await new_key(services)
    await until_connected(elsewhere)
    assert await elsewhere.authenticator.principal(made["key"]) is not None
    monkeypatch.setattr(elsewhere.hub, "_dispatch", lambda *_: None)
    monkeypatch.setattr(elsewhere.hub, "connected", False)
    await keys.revoke(services, caller, made["id"])
    assert await elsewhere.authenticator.principal(made["key"]) is None


async def test_a_change_during_a_look_up_wins(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up read the key before it was revoked, and ends after the hint: nothing may be remembered."""
    caller, made = await new_key(services)
    ring = KeyRing(services.db, services.hub)
    real = queries.holder

    async def slow(connection: Any, key_hash: bytes) -> Any:
        row = await real(connection, key_hash)
        await keys.revoke(services, caller, made["id"])
        return row

    with monkeypatch.context() as patched:
        patched.setattr(queries, "holder", slow)
        await ring.principal(made["key"])
    assert await ring.principal(made["key"]) is None


async def test_what_is_remembered_is_bounded_and_unknown_tokens_are_not(
    services: Services, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.accounts.keys.authenticator.MAX_REMEMBERED", 2)
    ring = KeyRing(services.db, services.hub)
    for number in range(5):
        assert await ring.principal(await make_key()) is not None
        assert await ring.principal(f"rf_live_{number:040}") is None
    assert len(ring._principals._entries) <= 2
