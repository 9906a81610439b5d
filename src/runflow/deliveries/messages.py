"""What a message says, frozen as bytes when its delivery is made (docs/api/callbacks.md), and who composes which.

Runs, batches and evaluations tell of their ends here, each in the transaction that ends it.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import orjson

from runflow.batches import queries as batches
from runflow.batches.ending import batch_output, item_ended
from runflow.db.transaction import Transaction
from runflow.deliveries import outbox
from runflow.deliveries.callbacks.history_queries import BatchToTell, RunToTell
from runflow.queue import queries as queue
from runflow.queue.ending import Ending
from runflow.queue.rows import LockedRun
from runflow.runs.records import error_document, output_document
from runflow.web.services import Services

URL_SECONDS = 7 * 86400
"""How long the URLs inside a payload live (docs/api/callbacks.md, "Callbacks")."""


class RunEvent(StrEnum):
    """What a message about a run can be about."""

    COMPLETED = "run.completed"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"


class BatchEvent(StrEnum):
    """What a message about a batch can be about."""

    SUCCEEDED = "batch.succeeded"
    PARTIAL_SUCCEEDED = "batch.partial_succeeded"
    FAILED = "batch.failed"
    CANCELLED = "batch.cancelled"


class EvaluationEvent(StrEnum):
    """What a message about an evaluation can be about."""

    COMPLETED = "evaluation.completed"
    FAILED = "evaluation.failed"


class GoldenEvent(StrEnum):
    """What a message about a golden run can be about."""

    PASSED = "golden_run.passed"
    FAILED = "golden_run.failed"
    CANCELLED = "golden_run.cancelled"
    SUPERSEDED = "golden_run.superseded"


EVENT_OF_STATUS = {
    "succeeded": RunEvent.COMPLETED,
    "failed": RunEvent.FAILED,
    "cancelled": RunEvent.CANCELLED,
}
"""The event by the terminal status of a run."""


def callback_payload(
    *,
    run_id: UUID,
    status: str,
    output: dict[str, Any] | None,
    duration_ms: int | None,
    created_at: datetime,
    completed_at: datetime | None,
    metadata: dict[str, Any] | None,
    client_ref: str | None,
    workflow: str | None,
) -> tuple[RunEvent, bytes]:
    """Return the event and the body of a message about a run.

    `status` is terminal; `output` is the normalized output of a run that succeeded, the `error` object of one that
    failed, None of one that was cancelled; `workflow` is `owner/slug`. The bytes are what is signed, stored and sent,
    at every attempt the same. Raises KeyError for a status that is not terminal.
    """
    event = EVENT_OF_STATUS[status]
    facts = {"workflow": workflow, "client_ref": client_ref, "output": output, "duration_ms": duration_ms}
    return event, _frozen(event, {"run_id": run_id}, status, facts, created_at, completed_at, metadata)


def batch_payload(
    *,
    batch_id: UUID,
    status: str,
    output: dict[str, Any] | None,
    duration_ms: int | None,
    created_at: datetime,
    completed_at: datetime | None,
    metadata: dict[str, Any] | None,
    workflow: str | None,
) -> tuple[BatchEvent, bytes]:
    """Return the event and the body of a message about a batch.

    `status` is terminal; `output` is `{items, succeeded, failed, cancelled, total}`; `workflow` is `owner/slug`.
    Raises ValueError for a status that is not terminal.
    """
    event = BatchEvent(f"batch.{status}")
    facts = {"workflow": workflow, "output": output, "duration_ms": duration_ms}
    return event, _frozen(event, {"batch_id": batch_id}, status, facts, created_at, completed_at, metadata)


def evaluation_payload(
    *,
    evaluation_id: UUID,
    run_id: UUID | None,
    status: str,
    output: dict[str, Any] | None,
    duration_ms: int | None,
    created_at: datetime,
    completed_at: datetime | None,
    client_ref: str | None,
) -> tuple[EvaluationEvent, bytes]:
    """Return the event and the body of a message about an evaluation.

    `status` is `completed` or `failed`; `output` is the verdict, or `{code, message}` of the failure; `run_id` is that
    of the run whose output was evaluated, if it was one. Raises ValueError for a status that is not terminal.
    """
    event = EvaluationEvent(f"evaluation.{status}")
    subject = {"evaluation_id": evaluation_id, "run_id": run_id}
    facts = {"client_ref": client_ref, "output": output, "duration_ms": duration_ms}
    return event, _frozen(event, subject, status, facts, created_at, completed_at, None)


def golden_payload(
    *,
    golden_id: UUID,
    workflow_id: UUID,
    status: str,
    version: str,
    reasons: list[dict[str, Any]],
    workflow: str | None,
    created_at: datetime,
    completed_at: datetime | None,
) -> tuple[GoldenEvent, bytes]:
    """Return the event and the body of a message about a golden run.

    `status` is terminal; `version` is the one that was tested; `workflow` is `owner/slug`. Raises ValueError for a
    status that is not terminal.
    """
    event = GoldenEvent(f"golden_run.{status}")
    subject = {"golden_run_id": golden_id, "comfyui_workflow_id": workflow_id}
    facts = {"workflow": workflow, "version": version, "output": {"reasons": reasons}}
    return event, _frozen(event, subject, status, facts, created_at, completed_at, None)


def _frozen(
    event: StrEnum,
    subject: dict[str, Any],
    status: str,
    facts: dict[str, Any],
    created_at: datetime,
    completed_at: datetime | None,
    metadata: dict[str, Any] | None,
) -> bytes:
    body = {
        "event": event.value,
        **subject,
        "status": status,
        **facts,
        "created_at": _time(created_at),
        "completed_at": None if completed_at is None else _time(completed_at),
        "metadata": metadata,
    }
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


class RunMessages:
    """The messages of a run that ended: to its `callback_url` and to subscribed webhooks, the same bytes to all."""

    def concerns(self, run: LockedRun) -> bool:
        """Tell whether anybody wants to hear of this run."""
        return bool(run.callback_url or run.has_webhooks)

    async def write(self, services: Services, transaction: Transaction, ending: Ending) -> None:
        """Put the deliveries into the outbox."""
        run = ending.run
        output: dict[str, Any] | None = None
        if ending.status == "succeeded":
            output = output_document(services, services.base_url, ending.outputs, seconds=URL_SECONDS)
        elif (failure := ending.failure) is not None:
            details = {"node_id": failure.node_id, "node_type": failure.node_type, "details": failure.details}
            output = error_document(failure.code.value, failure.message, details)
        event, body = callback_payload(
            run_id=run.run_id,
            status=ending.status,
            output=output,
            duration_ms=ending.row.duration_ms,
            created_at=run.created_at,
            completed_at=ending.row.completed_at,
            metadata=run.metadata,
            client_ref=run.client_ref,
            workflow=await queue.workflow_path(transaction, run.comfyui_workflow_id),
        )
        if run.callback_url:
            await outbox.insert(
                transaction,
                org_id=run.org_id,
                kind_code="callback",
                run_id=run.run_id,
                event_type_code=event,
                target_url=run.callback_url,
                payload=body,
                request_id=run.request_id,
            )
        if run.has_webhooks:
            await outbox.insert_for_webhooks(
                transaction,
                org_id=run.org_id,
                event_type_code=event,
                payload=body,
                run_id=run.run_id,
                request_id=run.request_id,
            )


class Counted(Protocol):
    """What decides whether a run is counted."""

    @property
    def batch_id(self) -> UUID | None:
        """The batch whose item it is."""


class BatchMessages:
    """Counts the items of a batch as their runs end; the last one ends the batch, whose messages are written here."""

    def concerns(self, run: Counted) -> bool:
        """Tell whether the run is an item of a batch."""
        return run.batch_id is not None

    async def write(self, services: Services, transaction: Transaction, ending: Ending) -> None:
        """Count, and put the deliveries of a batch that ended into the outbox."""
        batch_id = ending.run.batch_id
        batch = None if batch_id is None else await item_ended(transaction, batch_id, ending.status)
        if batch is None:
            return
        items = await batches.items_with_outputs(transaction, batch.id)
        workflow = await queue.workflow_path(transaction, batch.comfyui_workflow_id)
        output = batch_output(services, services.base_url, batch, items, seconds=URL_SECONDS)
        event, body = _batch_message(batch, output, workflow)
        if batch.callback_url:
            await outbox.insert(
                transaction,
                org_id=batch.org_id,
                kind_code="callback",
                batch_id=batch.id,
                event_type_code=event,
                target_url=batch.callback_url,
                payload=body,
                request_id=batch.request_id,
            )
        await outbox.insert_for_webhooks(
            transaction,
            org_id=batch.org_id,
            event_type_code=event,
            payload=body,
            batch_id=batch.id,
            request_id=batch.request_id,
        )


def run_message(services: Services, run: RunToTell) -> tuple[str, bytes]:
    """Return event and body about a run that has ended."""
    output: dict[str, Any] | None = None
    if run.status_code == "succeeded" and not run.output_expired:
        output = output_document(services, services.base_url, run.outputs, seconds=URL_SECONDS)
    elif run.status_code == "failed":
        output = error_document(run.failure_code, run.failure_message, run.failure_details)
    return callback_payload(
        run_id=run.id,
        status=run.status_code,
        output=output,
        duration_ms=run.duration_ms,
        created_at=run.created_at,
        completed_at=run.completed_at,
        metadata=run.metadata,
        client_ref=run.client_ref,
        workflow=run.workflow,
    )


class EndedBatch(Protocol):
    """What a message tells of the row of a batch."""

    @property
    def id(self) -> UUID:
        """Its id."""

    @property
    def status_code(self) -> str:
        """How it ended."""

    @property
    def duration_ms(self) -> int | None:
        """How long it took."""

    @property
    def created_at(self) -> datetime:
        """When it was made."""

    @property
    def completed_at(self) -> datetime | None:
        """When it ended."""

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What its caller gave along."""


async def batch_message(services: Services, transaction: Transaction, batch: BatchToTell) -> tuple[str, bytes]:
    """Return event and body about a batch that has ended."""
    items = await batches.items_with_outputs(transaction, batch.id)
    output = batch_output(services, services.base_url, batch, items, seconds=URL_SECONDS)
    return _batch_message(batch, output, batch.workflow)


def _batch_message(batch: EndedBatch, output: dict[str, Any], workflow: str | None) -> tuple[str, bytes]:
    return batch_payload(
        batch_id=batch.id,
        status=batch.status_code,
        output=output,
        duration_ms=batch.duration_ms,
        created_at=batch.created_at,
        completed_at=batch.completed_at,
        metadata=batch.metadata,
        workflow=workflow,
    )
