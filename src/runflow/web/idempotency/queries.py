"""SQL of idempotency keys. The organization is the transaction's tenant."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, text

from runflow.db.transaction import Transaction
from runflow.web.idempotency.tables import idempotency_keys

KEPT = text("interval '24 hours'")
"""How long a first answer is remembered (docs/api.md, "Idempotency")."""

_OLD = idempotency_keys.c.created_at <= func.now() - KEPT


@dataclass(frozen=True, slots=True)
class Name:
    """What an `Idempotency-Key` is unique in: organization and route."""

    org_id: UUID
    route: str
    key: str


async def try_lock(connection: Transaction, name: Name) -> bool:
    """Take this key until the transaction ends; False when another request has it."""
    lock = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    result = await connection.execute(lock, {"name": f"idempotency {name.org_id} {name.route} {name.key}"})
    return bool(result.scalar_one())


async def first_answer(connection: Transaction, name: Name) -> Row[Any] | None:
    """Return the stored answer, None when there is none or its time is over."""
    statement = select(idempotency_keys).where(*_is(name), ~_OLD)
    return (await connection.execute(statement)).one_or_none()


async def store(
    connection: Transaction,
    name: Name,
    *,
    request_hash: bytes,
    status_code: int,
    content_type: str | None,
    body: bytes | None,
) -> None:
    """Keep the first answer, in the place of one whose time is over."""
    await connection.execute(delete(idempotency_keys).where(*_is(name)))
    values = {"org_id": name.org_id, "route": name.route, "key": name.key, "request_hash": request_hash}
    answer = {"status_code": status_code, "content_type": content_type, "body": body}
    await connection.execute(insert(idempotency_keys).values(**values, **answer))


async def forget_old(connection: Transaction) -> int:
    """Delete what is remembered no longer; return how many there were."""
    return (await connection.execute(delete(idempotency_keys).where(_OLD))).rowcount


def _is(name: Name) -> tuple[Any, ...]:
    columns = idempotency_keys.c
    return (columns.org_id == name.org_id, columns.route == name.route, columns.key == name.key)
