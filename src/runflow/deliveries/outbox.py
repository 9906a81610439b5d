"""Putting messages into the outbox: the statements, for the transaction that makes the news true.

Each works on a SQLAlchemy connection (`connection.execute`) and on the hot path (`Transaction.run_clause`). Publish the
hint `"delivery"` after the commit.
"""

from typing import Required, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as insert_into

from runflow.db.transaction import Transaction
from runflow.deliveries.sending.schedule import MAX_ATTEMPTS
from runflow.deliveries.tables import deliveries
from runflow.ids import new_id


class Message(TypedDict, total=False):
    """The arguments of `insertion`."""

    org_id: Required[UUID]
    kind_code: Required[str]
    event_type_code: Required[str]
    target_url: Required[str]
    payload: Required[bytes]
    run_id: UUID | None
    batch_id: UUID | None
    evaluation_id: UUID | None
    webhook_id: UUID | None
    request_id: str | None
    is_automatic: bool
    max_attempts: int


def insertion(
    *,
    org_id: UUID,
    kind_code: str,
    event_type_code: str,
    target_url: str,
    payload: bytes,
    run_id: UUID | None = None,
    batch_id: UUID | None = None,
    evaluation_id: UUID | None = None,
    webhook_id: UUID | None = None,
    request_id: str | None = None,
    is_automatic: bool = True,
    max_attempts: int = MAX_ATTEMPTS,
) -> tuple[UUID, Insert]:
    """Return the id of a new message and the statement that puts it into the outbox, due at once.

    `kind_code` is `callback` or `webhook` (then with `webhook_id`); the subject is exactly one of run, batch and
    evaluation. The statement raises IntegrityError while another delivery about the same subject to the same target is
    pending; with `.on_conflict_do_nothing()` it inserts nothing then.
    """
    delivery_id = new_id()
    statement = insert_into(deliveries).values(
        id=delivery_id,
        org_id=org_id,
        kind_code=kind_code,
        run_id=run_id,
        batch_id=batch_id,
        evaluation_id=evaluation_id,
        webhook_id=webhook_id,
        event_type_code=event_type_code,
        target_url=target_url,
        payload=payload,
        request_id=request_id,
        is_automatic=is_automatic,
        max_attempts=max_attempts,
        next_attempt_at=text("now()"),
    )
    return delivery_id, statement


async def insert(connection: Transaction, **message: Unpack[Message]) -> UUID:
    """Run `insertion(**message)` and return the delivery's id."""
    delivery_id, statement = insertion(**message)
    await connection.execute(statement)
    return delivery_id


_TO_WEBHOOKS = text("""
INSERT INTO deliveries (id, org_id, kind_code, run_id, batch_id, evaluation_id, webhook_id, event_type_code, target_url,
                        payload, request_id, max_attempts, next_attempt_at)
SELECT new_id(), org_id, 'webhook', CAST(:run_id AS uuid), CAST(:batch_id AS uuid), CAST(:evaluation_id AS uuid), id,
       CAST(:event AS text), url, CAST(:payload AS bytea), CAST(:request_id AS text), :max_attempts, now()
FROM webhooks
WHERE org_id = :org_id AND disabled_at IS NULL AND CAST(:event AS text) = ANY (event_type_codes)
""")


def webhook_insertions(
    *,
    org_id: UUID,
    event_type_code: str,
    payload: bytes,
    run_id: UUID | None = None,
    batch_id: UUID | None = None,
    evaluation_id: UUID | None = None,
    request_id: str | None = None,
) -> TextClause:
    """Return the one statement that puts a message into the outbox for each enabled webhook subscribed to its event.

    The subject is exactly one of run, batch and evaluation. Where nobody is subscribed it inserts nothing.
    """
    return _TO_WEBHOOKS.bindparams(
        org_id=org_id,
        event=event_type_code,
        payload=payload,
        run_id=run_id,
        batch_id=batch_id,
        evaluation_id=evaluation_id,
        request_id=request_id,
        max_attempts=MAX_ATTEMPTS,
    )
