"""SQL of API keys and worker tokens, and what the list of keys can be filtered and sorted by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Result, Row, insert, select, text, update

from runflow.accounts.keys.schemas import ApiKey
from runflow.accounts.keys.tables import api_keys, worker_tokens
from runflow.accounts.organizations.tables import members, organizations
from runflow.db.notifications import CHANNEL
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec

_HOLDER = (
    select(
        api_keys.c.id,
        api_keys.c.org_id,
        api_keys.c.scopes,
        api_keys.c.expires_at,
        api_keys.c.rate_limit_per_second,
        organizations.c.slug,
    )
    .join(organizations, organizations.c.id == api_keys.c.org_id)
    .where(api_keys.c.revoked_at.is_(None))
)


async def holder(connection: Transaction, key_hash: bytes) -> Row[Any] | None:
    """Return who holds a key that is not revoked: id, organization with its slug, scopes, expiry, limit."""
    result: Result[Any] = await connection.execute(_HOLDER.where(api_keys.c.key_hash == key_hash))
    return result.one_or_none()


async def is_member(connection: Transaction, user_id: UUID) -> bool:
    """Tell whether a user is a member of this tenant's organization."""
    return (await connection.execute(select(members.c.id).where(members.c.user_id == user_id))).first() is not None


async def touch(connection: Transaction, key_ids: Sequence[UUID]) -> None:
    """Note that these keys were used just now."""
    statement = text("UPDATE api_keys SET last_used_at = now() WHERE id = ANY(:ids)")
    await connection.execute(statement, {"ids": list(key_ids)})


async def add(
    connection: Transaction,
    *,
    key_id: UUID,
    org_id: UUID,
    name: str,
    key_hash: bytes,
    key_prefix: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    created_by: UUID | None,
    user_id: UUID | None,
    rate_limit_per_second: int | None,
) -> Row[Any]:
    """Insert a key and return its row."""
    statement = (
        insert(api_keys)
        .values(
            id=key_id,
            org_id=org_id,
            name=name,
            key_hash=key_hash,
            key_prefix=key_prefix,
            scopes=list(scopes),
            expires_at=expires_at,
            created_by=created_by,
            user_id=user_id,
            rate_limit_per_second=rate_limit_per_second,
        )
        .returning(*api_keys.c)
    )
    return (await connection.execute(statement)).one()


async def get(connection: Transaction, key_id: UUID) -> Row[Any] | None:
    """Return a key, revoked or not."""
    return (await connection.execute(select(api_keys).where(api_keys.c.id == key_id))).one_or_none()


async def revoke(connection: Transaction, key_id: UUID) -> UUID | None:
    """Revoke a key and return its organization; None when there is no such key, or it was revoked before."""
    statement = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=text("now()"), updated_at=text("now()"))
        .returning(api_keys.c.org_id)
    )
    org_id: UUID | None = (await connection.execute(statement)).scalar_one_or_none()
    return org_id


_MADE_WITH = text("""
    WITH RECURSIVE made AS (
        SELECT id, revoked_at, expires_at, created_at, org_id FROM api_keys WHERE created_by = ANY(:ids)
        UNION
        SELECT k.id, k.revoked_at, k.expires_at, k.created_at, k.org_id
        FROM api_keys k JOIN made ON k.created_by = made.id AND k.org_id = made.org_id
    )
    SELECT id FROM made WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at
""")


async def made_with(connection: Transaction, key_ids: Sequence[UUID]) -> list[UUID]:
    """Return the keys that still work of those made with these keys, and with keys made with them, the oldest first."""
    return list((await connection.execute(_MADE_WITH, {"ids": list(key_ids)})).scalars())


async def revoke_of_user(connection: Transaction, user_id: UUID) -> Sequence[UUID]:
    """Revoke every key of a user in this tenant's organization; return which were not revoked before."""
    statement = (
        update(api_keys)
        .where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=text("now()"), updated_at=text("now()"))
        .returning(api_keys.c.id)
    )
    revoked: Sequence[UUID] = (await connection.execute(statement)).scalars().all()
    return revoked


async def worker_token(connection: Transaction, token_hash: bytes) -> UUID | None:
    """Return the id of a worker token; None when it is unknown or revoked."""
    statement = select(worker_tokens.c.id).where(
        worker_tokens.c.token_hash == token_hash, worker_tokens.c.revoked_at.is_(None)
    )
    found: UUID | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def add_worker_token(connection: Transaction, *, token_id: UUID, name: str, token_hash: bytes) -> None:
    """Insert a worker token."""
    await connection.execute(insert(worker_tokens).values(id=token_id, name=name, token_hash=token_hash))


async def revoke_worker_token(connection: Transaction, token_id: UUID) -> bool:
    """Revoke a worker token; revoking twice keeps the first time. Return whether there is such a token."""
    statement = (
        update(worker_tokens)
        .where(worker_tokens.c.id == token_id)
        .values(revoked_at=text("coalesce(revoked_at, now())"))
    )
    return (await connection.execute(statement)).rowcount == 1


async def announce_change(connection: Transaction) -> None:
    """Make every server process forget what it remembers of keys, when this transaction commits."""
    hints = orjson.dumps([["key", ""]]).decode()
    await connection.execute(text("SELECT pg_notify(:channel, :hints)"), {"channel": CHANNEL, "hints": hints})


KEY_LIST = ListSpec(
    from_=api_keys,
    fields=(
        ListField("id", api_keys.c.id, FieldKind.UUID),
        ListField("name", api_keys.c.name, FieldKind.STRING),
        ListField("key_prefix", api_keys.c.key_prefix, FieldKind.STRING),
        ListField("expires_at", api_keys.c.expires_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("last_used_at", api_keys.c.last_used_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("revoked_at", api_keys.c.revoked_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("user_id", api_keys.c.user_id, FieldKind.UUID, nullable=True),
        ListField("created_by", api_keys.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", api_keys.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", api_keys.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(ApiKey.model_fields),
)
