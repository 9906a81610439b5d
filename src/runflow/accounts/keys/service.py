"""Rules of API keys and worker tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.keys import queries
from runflow.accounts.keys.queries import KEY_LIST
from runflow.accounts.keys.schemas import ApiKey, CreateApiKey
from runflow.accounts.keys.tables import ApiKeyRow
from runflow.accounts.organizations.limits import Limited, require_place
from runflow.db.transaction import Transaction
from runflow.ids import new_id, new_token, token_hash
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services

KEY_PREFIX = "rf_live_"
WORKER_PREFIX = "rf_work_"
SHOWN_CHARACTERS = len(KEY_PREFIX) + 4


async def create(
    transaction: Transaction,
    *,
    org_id: UUID,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    created_by: UUID | None = None,
    user_id: UUID | None = None,
    rate_limit_per_second: int | None = None,
) -> dict[str, Any]:
    """Make a key and return its record with `key`, the one time it is shown."""
    key = new_token(KEY_PREFIX)
    row = await queries.add(
        transaction,
        key_id=new_id(),
        org_id=org_id,
        name=name,
        key_hash=token_hash(key),
        key_prefix=key[:SHOWN_CHARACTERS],
        scopes=list(dict.fromkeys(scopes)),
        expires_at=expires_at,
        created_by=created_by,
        user_id=user_id,
        rate_limit_per_second=rate_limit_per_second,
    )
    return {**record(row), "key": key}


async def create_for(services: Services, caller: Principal, body: CreateApiKey) -> dict[str, Any]:
    """Make a key for the caller's organization. Without scopes, end or limit it gets the caller's.

    No key can give what it does not hold, nor outlive or outrun itself by another: `PermissionDenied`. Raises
    `ValidationFailed` when `user_id` is no member, `LimitReached` when there are too many keys.
    """
    scopes = sorted(caller.scopes) if body.scopes is None else body.scopes
    beyond = [scope for scope in scopes if scope not in caller.scopes]
    if beyond:
        raise errors.PermissionDenied(f"This API key does not hold `{beyond[0]}`, so it cannot give it to another key.")
    expires_at = body.expires_at or caller.expires_at
    if caller.expires_at is not None and expires_at is not None and expires_at > caller.expires_at:
        raise errors.PermissionDenied(
            f"This API key ends at {caller.expires_at.isoformat()}, so it cannot make one that ends later."
        )
    limit = body.rate_limit_per_second or caller.rate_limit
    # A key without a limit of its own is held to the server's (0: to none).
    most = caller.rate_limit or services.settings.rate_limit
    if most and limit is not None and limit > most:
        raise errors.PermissionDenied(
            f"This API key may send {most} requests per second, so it cannot make one that may send more. The operator "
            "can: `runflow keys create`."
        )
    async with services.db.tenant(caller.org_id) as transaction:
        if body.user_id is not None and not await queries.is_member(transaction, body.user_id):
            message = "There is no member with this `user_id` in your organization."
            found = {"loc": ["body", "user_id"], "msg": message, "type": "unknown_member"}
            raise errors.ValidationFailed(message, errors=[found])
        await require_place(transaction, services.settings, caller.org_id, Limited.API_KEYS)
        made = await create(
            transaction,
            org_id=caller.org_id,
            name=body.name,
            scopes=scopes,
            expires_at=expires_at,
            created_by=caller.key_id,
            user_id=body.user_id,
            rate_limit_per_second=limit,
        )
        details = {"name": body.name, "scopes": made["scopes"]}
        await recorder.record(transaction, caller, "api_key.created", "api_key", made["id"], details)
    return made


async def list_keys(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's keys."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, KEY_LIST, query, row=ApiKeyRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def revoke(services: Services, caller: Principal, key_id: UUID) -> None:
    """Revoke a key of the caller's organization at once, on every server process; again changes nothing.

    The keys that were made with it stay: they are others' by now. The audit event names them. Raises `ApiKeyNotFound`.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        if await queries.revoke(transaction, key_id) is not None:
            details = await _left_by(transaction, key_id)
            await recorder.record(transaction, caller, "api_key.revoked", "api_key", key_id, details)
        elif await queries.get(transaction, key_id) is None:
            raise errors.ApiKeyNotFound
        # Told by the commit itself: a process that dies right after it cannot keep the others from hearing of it.
        await queries.announce_change(transaction)
    services.hub.publish("key")


async def get(services: Services, caller: Principal, key_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a key of the caller's organization, revoked or not. Raises `ApiKeyNotFound` or `InvalidField`."""
    check_projection(query, KEY_LIST.response_fields, KEY_LIST.embeds)
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.get(transaction, key_id)
    if row is None:
        raise errors.ApiKeyNotFound
    return project(record(row), query)


async def create_by_operator(transaction: Transaction, *, org_id: UUID, **values: Any) -> dict[str, Any]:
    """Make a key on the command line, as the system role; `values` are those of `create`."""
    made = await create(transaction, org_id=org_id, **values)
    details = {"name": made["name"], "scopes": made["scopes"]}
    await recorder.record_operator(transaction, org_id, "api_key.created", "api_key", made["id"], details)
    return made


async def revoke_by_operator(transaction: Transaction, key_id: UUID) -> list[UUID] | None:
    """Revoke any organization's key on the command line, as the system role.

    Return the keys made with it that still work; None where there is no such key.
    """
    org_id = await queries.revoke(transaction, key_id)
    if org_id is not None:
        details = await _left_by(transaction, key_id)
        await recorder.record_operator(transaction, org_id, "api_key.revoked", "api_key", key_id, details)
    elif await queries.get(transaction, key_id) is None:
        return None
    await queries.announce_change(transaction)
    return await queries.made_with(transaction, [key_id])


async def create_worker_token(transaction: Transaction, name: str) -> tuple[UUID, str]:
    """Make a worker token and return its id and the token; only its hash is kept."""
    token_id, token = new_id(), new_token(WORKER_PREFIX)
    await queries.add_worker_token(transaction, token_id=token_id, name=name, token_hash=token_hash(token))
    return token_id, token


def record(row: ApiKeyRow) -> dict[str, Any]:
    """Return a key as the wire shows it: everything but its hash."""
    return {name: getattr(row, name) for name in ApiKey.model_fields}


async def _left_by(transaction: Transaction, key_id: UUID) -> dict[str, Any]:
    return {"made_with_it": [str(one) for one in await queries.made_with(transaction, [key_id])]}
