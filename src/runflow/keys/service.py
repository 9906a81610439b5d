"""Rules of API keys and worker tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from runflow import errors
from runflow.ids import new_id, new_token, token_hash
from runflow.keys import queries
from runflow.keys.listing import KEY_LIST
from runflow.keys.schemas import ApiKey, CreateApiKey
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, build, envelope, page, project

KEY_PREFIX = "rf_live_"
WORKER_PREFIX = "rf_work_"
SHOWN_CHARACTERS = len(KEY_PREFIX) + 4


async def create(
    connection: AsyncConnection,
    *,
    org_id: UUID,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    created_by: UUID | None = None,
) -> dict[str, Any]:
    """Make a key and return its record with `key`, the one time it is shown."""
    key = new_token(KEY_PREFIX)
    row = await queries.add(
        connection,
        key_id=new_id(),
        org_id=org_id,
        name=name,
        key_hash=token_hash(key),
        key_prefix=key[:SHOWN_CHARACTERS],
        scopes=list(dict.fromkeys(scopes)),
        expires_at=expires_at,
        created_by=created_by,
    )
    return {**record(row), "key": key}


async def create_for(services: Services, caller: Principal, body: CreateApiKey) -> dict[str, Any]:
    """Make a key for the caller's organization. No key can give what it does not hold: `PermissionDenied`."""
    scopes = sorted(caller.scopes) if body.scopes is None else body.scopes
    beyond = [scope for scope in scopes if scope not in caller.scopes]
    if beyond:
        raise errors.PermissionDenied(f"This API key does not hold `{beyond[0]}`, so it cannot give it to another key.")
    async with services.db.tenant(caller.org_id) as connection:
        return await create(
            connection,
            org_id=caller.org_id,
            name=body.name,
            scopes=scopes,
            expires_at=body.expires_at,
            created_by=caller.key_id,
        )


async def list_keys(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's keys."""
    async with services.db.tenant(caller.org_id) as connection:
        rows = list(await connection.execute(build(KEY_LIST, query)))
    found = page(KEY_LIST, query, rows)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def revoke(services: Services, caller: Principal, key_id: UUID) -> None:
    """Revoke a key of the caller's organization at once, on every server process. Raises `ApiKeyNotFound`."""
    async with services.db.tenant(caller.org_id) as connection:
        if not await queries.revoke(connection, key_id):
            raise errors.ApiKeyNotFound
    services.hub.publish("key")


async def create_worker_token(connection: AsyncConnection, name: str) -> tuple[UUID, str]:
    """Make a worker token and return its id and the token; only its hash is kept."""
    token_id, token = new_id(), new_token(WORKER_PREFIX)
    await queries.add_worker_token(connection, token_id=token_id, name=name, token_hash=token_hash(token))
    return token_id, token


def record(row: Any) -> dict[str, Any]:
    """Return a key as the wire shows it: everything but its hash."""
    return {name: row._mapping[name] for name in ApiKey.model_fields}
