"""The messages of a run that ended: frozen and put into the outbox by the transaction that ends it."""

from typing import Any

from runflow.db.transaction import Transaction
from runflow.deliveries import outbox, payload
from runflow.runs.output import error_document, output_document
from runflow.runs.queue import queries
from runflow.services import Services
from runflow.workers.schemas import Failure

URL_SECONDS = 7 * 86400
"""How long the URLs inside a payload live (docs/api/callbacks.md, "Callbacks")."""


async def add_messages(
    services: Services,
    connection: Transaction,
    run: Any,
    run_status: str,
    ended: Any,
    outputs: list[dict[str, Any]],
    failure: Failure | None,
) -> None:
    """Write the deliveries of a run that just became terminal: to its `callback_url` and to subscribed webhooks.

    `run` needs the columns of `queries.held`. All of them get the same bytes.
    """
    output: dict[str, Any] | None = None
    if run_status == "succeeded":
        output = output_document(services, services.base_url, outputs, seconds=URL_SECONDS)
    elif failure is not None:
        details = {"node_id": failure.node_id, "node_type": failure.node_type, "details": failure.details}
        output = error_document(failure.code.value, failure.message, details)
    event, body = payload.callback_payload(
        run_id=run.run_id,
        status=run_status,
        output=output,
        duration_ms=ended.duration_ms,
        created_at=run.created_at,
        completed_at=ended.completed_at,
        metadata=run.metadata,
        client_ref=run.client_ref,
        workflow=await queries.workflow_path(connection, run.comfyui_workflow_id),
    )
    if run.callback_url:
        _, message = outbox.insertion(
            org_id=run.org_id,
            kind_code="callback",
            run_id=run.run_id,
            event_type_code=event,
            target_url=run.callback_url,
            payload=body,
            request_id=run.request_id,
        )
        await connection.run_clause(message)
    if run.has_webhooks:
        await connection.run_clause(
            outbox.webhook_insertions(
                org_id=run.org_id, event_type_code=event, payload=body, run_id=run.run_id, request_id=run.request_id
            )
        )
