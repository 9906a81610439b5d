"""Putting messages into the outbox, in the transaction that makes the news true.

Publish the hint `"delivery"` after the commit.
"""

from typing import Any, Required, TypedDict, Unpack
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.deliveries.sending.schedule import MAX_ATTEMPTS
from runflow.deliveries.tables import DeliveryRow
from runflow.ids import new_id


class Message(TypedDict, total=False):
    """A message to one target: the arguments of `insert`.

    `kind_code` is `callback` or `webhook` (then with `webhook_id`); the subject is exactly one of run, batch,
    evaluation and golden run, or none for the test of a webhook.
    """

    org_id: Required[UUID]
    kind_code: Required[str]
    event_type_code: Required[str]
    target_url: Required[str]
    payload: Required[bytes]
    run_id: UUID | None
    batch_id: UUID | None
    evaluation_id: UUID | None
    golden_run_id: UUID | None
    webhook_id: UUID | None
    request_id: str | None
    is_automatic: bool
    max_attempts: int


_INSERT = """
INSERT INTO deliveries (id, org_id, kind_code, run_id, batch_id, evaluation_id, golden_run_id, webhook_id,
                        event_type_code, target_url, payload, request_id, is_automatic, max_attempts, next_attempt_at)
VALUES (%(id)s, %(org_id)s, %(kind_code)s, %(run_id)s, %(batch_id)s, %(evaluation_id)s, %(golden_run_id)s,
        %(webhook_id)s, %(event_type_code)s, %(target_url)s, %(payload)s, %(request_id)s, %(is_automatic)s,
        %(max_attempts)s, now())
"""
_INSERT_UNLESS_PENDING = f"{_INSERT} ON CONFLICT DO NOTHING RETURNING *"


async def insert(transaction: Transaction, **message: Unpack[Message]) -> UUID:
    """Put a message into the outbox, due at once, and return the delivery's id.

    It goes with the next exchange, which fails with a unique violation while another delivery about the same subject
    to the same target is pending.
    """
    values = _values(message)
    await transaction.run(_INSERT, values)
    made: UUID = values["id"]
    return made


async def insert_unless_pending(transaction: Transaction, **message: Unpack[Message]) -> DeliveryRow | None:
    """Put a message into the outbox, due at once, and return the delivery.

    None: another one about the same subject to the same target is pending, and nothing was inserted.
    """
    return await transaction.first(_INSERT_UNLESS_PENDING, _values(message), row=DeliveryRow)


_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("run_id", "batch_id", "evaluation_id", "golden_run_id", "webhook_id", "request_id")),
    "is_automatic": True,
    "max_attempts": MAX_ATTEMPTS,
}


def _values(message: Message) -> dict[str, Any]:
    return {**_DEFAULTS, **message, "id": new_id()}


_TO_WEBHOOKS = """
INSERT INTO deliveries (id, org_id, kind_code, run_id, batch_id, evaluation_id, golden_run_id, webhook_id,
                        event_type_code, target_url, payload, request_id, max_attempts, next_attempt_at)
SELECT new_id(), org_id, 'webhook', CAST(%(run_id)s AS uuid), CAST(%(batch_id)s AS uuid),
       CAST(%(evaluation_id)s AS uuid), CAST(%(golden_run_id)s AS uuid), id, CAST(%(event)s AS text), url,
       CAST(%(payload)s AS bytea), CAST(%(request_id)s AS text), %(max_attempts)s, now()
FROM webhooks
WHERE org_id = %(org_id)s AND disabled_at IS NULL AND CAST(%(event)s AS text) = ANY (event_type_codes)
"""


async def insert_for_webhooks(
    transaction: Transaction,
    *,
    org_id: UUID,
    event_type_code: str,
    payload: bytes,
    run_id: UUID | None = None,
    batch_id: UUID | None = None,
    evaluation_id: UUID | None = None,
    golden_run_id: UUID | None = None,
    request_id: str | None = None,
) -> None:
    """Put a message into the outbox for each enabled webhook subscribed to its event, by one statement.

    The subject is exactly one of run, batch, evaluation and golden run. Where nobody is subscribed it inserts nothing.
    """
    values = {
        "org_id": org_id,
        "event": event_type_code,
        "payload": payload,
        "run_id": run_id,
        "batch_id": batch_id,
        "evaluation_id": evaluation_id,
        "golden_run_id": golden_run_id,
        "request_id": request_id,
        "max_attempts": MAX_ATTEMPTS,
    }
    await transaction.run(_TO_WEBHOOKS, values)
