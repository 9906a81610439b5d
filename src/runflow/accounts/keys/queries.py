"""SQL of API keys and worker tokens, and what the list of keys can be filtered and sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, update

from runflow.accounts.keys.schemas import ApiKey
from runflow.accounts.keys.tables import ApiKeyRow, api_keys, worker_tokens
from runflow.db.notifications import announce
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec

_HOLDER = """
    SELECT k.id, k.org_id, k.scopes, k.expires_at, k.rate_limit_per_second, o.slug
    FROM api_keys k JOIN organizations o ON o.id = k.org_id
    WHERE k.key_hash = %(key_hash)s AND k.revoked_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class HolderRow:
    """What a key says of who sends it; `slug` is the organization's."""

    id: UUID
    org_id: UUID
    scopes: list[str]
    expires_at: datetime | None
    rate_limit_per_second: int | None
    slug: str


async def holder(transaction: Transaction, key_hash: bytes) -> HolderRow | None:
    """Return who holds a key that is not revoked: id, organization with its slug, scopes, expiry, limit."""
    return await transaction.first(_HOLDER, {"key_hash": key_hash}, row=HolderRow)


async def is_member(transaction: Transaction, user_id: UUID) -> bool:
    """Tell whether a user is a member of this tenant's organization."""
    statement = "SELECT EXISTS (SELECT FROM members WHERE user_id = %(user_id)s)"
    return await transaction.one_value(statement, {"user_id": user_id}, of=bool)


async def touch(transaction: Transaction, key_ids: Sequence[UUID]) -> None:
    """Note that these keys were used just now."""
    await transaction.run("UPDATE api_keys SET last_used_at = now() WHERE id = ANY(%(ids)s)", {"ids": list(key_ids)})


async def add(
    transaction: Transaction,
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
) -> ApiKeyRow:
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
    return await transaction.one(statement, row=ApiKeyRow)


async def get(transaction: Transaction, key_id: UUID) -> ApiKeyRow | None:
    """Return a key, revoked or not."""
    return await transaction.first(select(api_keys).where(api_keys.c.id == key_id), row=ApiKeyRow)


async def revoke(transaction: Transaction, key_id: UUID) -> UUID | None:
    """Revoke a key and return its organization; None when there is no such key, or it was revoked before."""
    statement = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now(), updated_at=func.now())
        .returning(api_keys.c.org_id)
    )
    return await transaction.value(statement, of=UUID)


async def every(transaction: Transaction, org_id: UUID) -> list[ApiKeyRow]:
    """Return an organization's keys, the oldest first; those that were revoked last."""
    order = (api_keys.c.revoked_at.is_not(None), api_keys.c.created_at, api_keys.c.id)
    return await transaction.rows(select(api_keys).where(api_keys.c.org_id == org_id).order_by(*order), row=ApiKeyRow)


_WORKER_TOKENS = """
    SELECT t.id, t.name, t.created_at, t.revoked_at,
           coalesce((SELECT array_agg(w.name ORDER BY w.name) FROM workers w WHERE w.token_id = t.id), '{}') AS workers
    FROM worker_tokens t ORDER BY t.revoked_at IS NOT NULL, t.created_at, t.id
"""


@dataclass(frozen=True, slots=True)
class WorkerTokenRow:
    """A worker token, with the names of the workers that registered with it."""

    id: UUID
    name: str
    created_at: datetime
    revoked_at: datetime | None
    workers: list[str]


async def every_worker_token(transaction: Transaction) -> list[WorkerTokenRow]:
    """Return the worker tokens of the installation, the oldest first; those that were revoked last."""
    return await transaction.rows(_WORKER_TOKENS, row=WorkerTokenRow)


_MADE_WITH = """
    WITH RECURSIVE made AS (
        SELECT id, revoked_at, expires_at, created_at, org_id FROM api_keys WHERE created_by = ANY(%(ids)s)
        UNION
        SELECT k.id, k.revoked_at, k.expires_at, k.created_at, k.org_id
        FROM api_keys k JOIN made ON k.created_by = made.id AND k.org_id = made.org_id
    )
    SELECT id FROM made WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at
"""


async def made_with(transaction: Transaction, key_ids: Sequence[UUID]) -> list[UUID]:
    """Return the keys that still work of those made with these keys, and with keys made with them, the oldest first."""
    return await transaction.values(_MADE_WITH, {"ids": list(key_ids)}, of=UUID)


async def revoke_of_user(transaction: Transaction, user_id: UUID) -> list[UUID]:
    """Revoke every key of a user in this tenant's organization; return which were not revoked before."""
    statement = (
        update(api_keys)
        .where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now(), updated_at=func.now())
        .returning(api_keys.c.id)
    )
    return await transaction.values(statement, of=UUID)


_FIND_WORKER = "SELECT id FROM worker_tokens WHERE token_hash = %(token_hash)s AND revoked_at IS NULL"


async def worker_token(transaction: Transaction, token_hash: bytes) -> UUID | None:
    """Return the id of a worker token; None when it is unknown or revoked."""
    return await transaction.value(_FIND_WORKER, {"token_hash": token_hash}, of=UUID)


async def add_worker_token(transaction: Transaction, *, token_id: UUID, name: str, token_hash: bytes) -> None:
    """Insert a worker token."""
    await transaction.run(insert(worker_tokens).values(id=token_id, name=name, token_hash=token_hash))


async def revoke_worker_token(transaction: Transaction, token_id: UUID) -> bool:
    """Revoke a worker token; revoking twice keeps the first time. Return whether there is such a token."""
    statement = "UPDATE worker_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s"
    return await transaction.change(statement, {"id": token_id}) == 1


_REVOKE_OF_WORKER = """
    UPDATE worker_tokens SET revoked_at = now()
    WHERE revoked_at IS NULL AND name = %(name)s AND id = (SELECT token_id FROM workers WHERE name = %(worker)s)
"""


async def revoke_token_of_worker(transaction: Transaction, name: str, *, worker: str) -> None:
    """Revoke the token of this name to which the name of a worker belongs, if it does."""
    await transaction.run(_REVOKE_OF_WORKER, {"name": name, "worker": worker})


async def announce_change(transaction: Transaction) -> None:
    """Make every server process forget what it remembers of keys, when this transaction commits."""
    await announce(transaction, "key")


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
