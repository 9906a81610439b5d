"""Reading what was delivered to a `callback_url`, and delivering it again."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.deliveries import schemas as records
from runflow.deliveries.callbacks import history_queries as queries
from runflow.deliveries.messages import batch_message, run_message
from runflow.deliveries.outbox import Message, insert_unless_pending
from runflow.deliveries.tables import DeliveryRow
from runflow.protocol.failures import TERMINAL
from runflow.web.auth import Principal
from runflow.web.services import Services

IN_FLIGHT = "A delivery to this callback_url is still in flight. Look at it with GET …/callback, or wait for its end."


async def of_run(services: Services, caller: Principal, run_id: UUID) -> list[dict[str, Any]]:
    """Return the callback deliveries of a run, newest first. Raises `RunNotFound`."""
    async with services.db.tenant(caller.org_id) as transaction:
        if not await queries.run_exists(transaction, run_id):
            raise errors.RunNotFound
        return await _complete(transaction, await queries.of_run(transaction, run_id))


async def of_batch(services: Services, caller: Principal, batch_id: UUID) -> list[dict[str, Any]]:
    """Return the callback deliveries of a batch, newest first. Raises `BatchNotFound`."""
    async with services.db.tenant(caller.org_id) as transaction:
        if not await queries.batch_exists(transaction, batch_id):
            raise errors.BatchNotFound
        return await _complete(transaction, await queries.of_batch(transaction, batch_id))


async def redeliver_run(services: Services, caller: Principal, run_id: UUID) -> dict[str, Any]:
    """Tell the run's `callback_url` how the run stands now; return the new delivery.

    Raises `RunNotFound`, `ValidationFailed` for a run that goes on or has no `callback_url`, `Conflict` while a
    delivery is in flight.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        run = await queries.run(transaction, run_id)
        if run is None:
            raise errors.RunNotFound
        url = _target("run", run.callback_url, run.status_code in TERMINAL)
        event, body = run_message(services, run)
        made = await _insert(transaction, _again(run, url, event, body) | {"run_id": run_id})
        await recorder.record(transaction, caller, "run.callback_redelivered", "run", run_id)
    services.hub.publish("delivery")
    return made


async def redeliver_batch(services: Services, caller: Principal, batch_id: UUID) -> dict[str, Any]:
    """The same for a batch. Raises `BatchNotFound`, `ValidationFailed` or `Conflict`."""
    async with services.db.tenant(caller.org_id) as transaction:
        batch = await queries.batch(transaction, batch_id)
        if batch is None:
            raise errors.BatchNotFound
        url = _target("batch", batch.callback_url, batch.completed_at is not None)
        event, body = await batch_message(services, transaction, batch)
        made = await _insert(transaction, _again(batch, url, event, body) | {"batch_id": batch_id})
        await recorder.record(transaction, caller, "batch.callback_redelivered", "batch", batch_id)
    services.hub.publish("delivery")
    return made


def _target(noun: str, callback_url: str | None, is_terminal: bool) -> str:
    if not callback_url:
        raise errors.ValidationFailed(f"This {noun} was dispatched without a callback_url: there is nobody to tell.")
    if not is_terminal:
        raise errors.ValidationFailed(f"This {noun} has not ended yet; its callback is delivered when it does.")
    return callback_url


def _again(subject: queries.RunToTell | queries.BatchToTell, url: str, event: str, body: bytes) -> Message:
    return {
        "org_id": subject.org_id,
        "kind_code": "callback",
        "event_type_code": event,
        "target_url": url,
        "payload": body,
        "request_id": subject.request_id,
        "is_automatic": False,
    }


async def _insert(transaction: Transaction, message: Message) -> dict[str, Any]:
    row = await insert_unless_pending(transaction, **message)
    if row is None:
        raise errors.Conflict(IN_FLIGHT)
    return _record(row, [])


async def _complete(transaction: Transaction, rows: Sequence[DeliveryRow]) -> list[dict[str, Any]]:
    attempts = records.by_delivery(await queries.attempts(transaction, [row.id for row in rows]) if rows else [])
    return [_record(row, attempts.get(row.id, [])) for row in rows]


def _record(row: DeliveryRow, attempts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row.id,
        "run_id": row.run_id,
        "batch_id": row.batch_id,
        "event_type_code": row.event_type_code,
        "callback_url": row.target_url,
        "payload": records.payload(row),
        "payload_bytes": row.payload.decode(),
        "signing_secret_id": row.signing_secret_id,
        **records.state(row),
        "attempts": attempts,
    }
