"""SQL of idempotency keys. The organization is the transaction's tenant."""

from dataclasses import asdict, dataclass
from uuid import UUID

from runflow.db.transaction import Transaction

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(name)s, 0))"

# A first answer is remembered for a day (docs/api.md, "Idempotency").
_FIRST = """
    SELECT request_hash, status_code, content_type, body FROM idempotency_keys
    WHERE org_id = %(org_id)s AND route = %(route)s AND key = %(key)s AND created_at > now() - interval '24 hours'
"""
_FORGET_OLD = "DELETE FROM idempotency_keys WHERE created_at <= now() - interval '24 hours'"

_FORGET = "DELETE FROM idempotency_keys WHERE org_id = %(org_id)s AND route = %(route)s AND key = %(key)s"
_STORE = """
    INSERT INTO idempotency_keys (org_id, route, key, request_hash, status_code, content_type, body)
    VALUES (%(org_id)s, %(route)s, %(key)s, %(request_hash)s, %(status_code)s, %(content_type)s, %(body)s)
"""


@dataclass(frozen=True, slots=True)
class Name:
    """What an `Idempotency-Key` is unique in: organization and route."""

    org_id: UUID
    route: str
    key: str


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first request with a key asked and was answered; `body` is None where it held a secret."""

    request_hash: bytes
    status_code: int
    content_type: str | None
    body: bytes | None


async def try_lock(transaction: Transaction, name: Name) -> bool:
    """Take this key until the transaction ends; False when another request has it."""
    text = f"idempotency {name.org_id} {name.route} {name.key}"
    return await transaction.one_value(_LOCK, {"name": text}, of=bool)


async def first_answer(transaction: Transaction, name: Name) -> FirstAnswer | None:
    """Return the stored answer, None when there is none or its time is over."""
    return await transaction.first(_FIRST, asdict(name), row=FirstAnswer)


async def store(transaction: Transaction, name: Name, answer: FirstAnswer) -> None:
    """Keep the first answer, in the place of one whose time is over."""
    await transaction.run(_FORGET, asdict(name))
    await transaction.run(_STORE, asdict(name) | asdict(answer))


async def forget_old(transaction: Transaction) -> int:
    """Delete what is remembered no longer; return how many there were."""
    return await transaction.change(_FORGET_OLD)
