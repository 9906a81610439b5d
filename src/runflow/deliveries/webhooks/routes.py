"""Webhooks over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path
from starlette.responses import Response

from runflow import errors
from runflow.deliveries.webhooks import history, service
from runflow.deliveries.webhooks.schemas import (
    CreateWebhook,
    EventType,
    NewWebhook,
    PatchWebhook,
    TestDelivery,
    Webhook,
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliverySummary,
)
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Webhooks", "Addresses that are told of every event.")
router = Router(TAG, prefix="/v1/webhooks")

READ = any_of("webhooks:read")

Parts = Annotated[Services, Depends(services)]
Lists = Annotated[ListQuery, Depends(list_query)]
Records = Annotated[RecordQuery, Depends(record_query)]
WebhookId = Annotated[UUID | Literal["any"], Path(description="Id of the webhook, or `any`.")]
DeliveryId = Annotated[UUID | Literal["any"], Path(description="Id of the delivery, or `any`.")]

DELIVERIES = "/{webhook_id}/deliveries"


@router.get("", access=READ, response_model=ListEnvelope[Webhook], summary="List webhooks")
async def list_webhooks(caller: Caller, parts: Parts, query: Lists) -> Response:
    """List your organization's webhooks."""
    return json_response(await service.list_page(parts, caller, query))


@router.post(
    "",
    access=any_of("webhooks:create"),
    errors=(errors.LimitReached,),
    shows_secret=True,
    status_code=201,
    response_model=NewWebhook,
    summary="Create a webhook",
    openapi_extra=openapi_body(CreateWebhook),
)
async def create(
    body: Annotated[CreateWebhook, Depends(json_body(CreateWebhook))], caller: Caller, parts: Parts
) -> Response:
    """Subscribe a URL to events. The answer shows the signing `secret`, this once."""
    return json_response(await service.create(parts, caller, body), 201)


@router.get("/event-types", access=READ, response_model=ListEnvelope[EventType], summary="List event types")
async def list_event_types(caller: Caller, parts: Parts, query: Lists) -> Response:
    """List what webhooks can subscribe to, each with an example of what is sent."""
    return json_response(await service.event_types(parts, caller, query))


@router.get(
    "/event-types/{code}",
    access=READ,
    errors=(errors.EventTypeNotFound,),
    response_model=EventType,
    in_document=False,  # beside `{webhook_id}/deliveries` ambiguous there; the list has it all
    summary="Get an event type",
)
async def get_event_type(code: str, caller: Caller, query: Records) -> Response:
    """Read one event type, with an example of what is sent."""
    return json_response(service.event_type(code, query))


@router.get("/{id}", access=READ, errors=(errors.WebhookNotFound,), response_model=Webhook, summary="Get a webhook")
async def get(id: UUID, caller: Caller, parts: Parts, query: Records) -> Response:
    """Read a webhook, without its secret."""
    return json_response(await service.get(parts, caller, id, query))


@router.patch(
    "/{id}",
    access=any_of("webhooks:edit"),
    errors=(errors.WebhookNotFound, errors.Conflict),
    response_model=Webhook,
    summary="Change a webhook",
    openapi_extra=openapi_body(PatchWebhook),
)
async def change(
    id: UUID, body: Annotated[PatchWebhook, Depends(json_body(PatchWebhook))], caller: Caller, parts: Parts
) -> Response:
    """Change address, subscriptions, label or secret of a webhook, or switch it off and on."""
    return json_response(await service.change(parts, caller, id, body))


@router.delete(
    "/{id}",
    access=any_of("webhooks:delete"),
    errors=(errors.WebhookNotFound,),
    status_code=204,
    summary="Delete a webhook",
)
async def delete(id: UUID, caller: Caller, parts: Parts) -> Response:
    """Delete a webhook for good; what waits for it fails. Its deliveries stay listed under `any`."""
    await service.delete(parts, caller, id)
    return Response(status_code=204)


@router.get(
    DELIVERIES,
    access=READ,
    errors=(errors.WebhookNotFound,),
    response_model=ListEnvelope[WebhookDeliverySummary],
    summary="List deliveries",
)
async def list_deliveries(webhook_id: WebhookId, caller: Caller, parts: Parts, query: Lists) -> Response:
    """List what was, and is to be, delivered to a webhook or to `any`."""
    return json_response(await history.deliveries(parts, caller, webhook_id, query))


@router.get(
    DELIVERIES + "/{id}",
    access=READ,
    errors=(errors.DeliveryNotFound,),
    response_model=WebhookDelivery,
    summary="Get a delivery",
)
async def get_delivery(webhook_id: WebhookId, id: UUID, caller: Caller, parts: Parts, query: Records) -> Response:
    """Read a delivery with what it says and every attempt."""
    return json_response(await history.delivery(parts, caller, webhook_id, id, query))


@router.post(
    "/{id}/test-deliveries",
    access=any_of("webhooks:edit"),
    errors=(errors.WebhookNotFound,),
    status_code=201,
    response_model=WebhookDelivery,
    summary="Deliver an example",
    openapi_extra=openapi_body(TestDelivery, required=False),
)
async def deliver_test(
    id: UUID,
    caller: Caller,
    parts: Parts,
    body: Annotated[TestDelivery, Depends(json_body(TestDelivery, optional=True))],
) -> Response:
    """Send an example of an event, with `"is_test": true`, signed and recorded as real ones are, but tried once.

    409 for a webhook that is disabled. Its ids are of no run.
    """
    return json_response(await history.deliver_test(parts, caller, id, body.event_type_code), 201)


@router.post(
    DELIVERIES + "/{id}/redeliveries",
    access=any_of("webhooks:edit", "runs:execute"),
    errors=(errors.WebhookNotFound, errors.DeliveryNotFound),
    status_code=201,
    response_model=WebhookDelivery,
    summary="Deliver an event again",
)
async def redeliver(webhook_id: WebhookId, id: UUID, caller: Caller, parts: Parts) -> Response:
    """Tell the webhook again, with fresh URLs, as a new delivery. 409 while one of this event is in flight."""
    return json_response(await history.redeliver(parts, caller, webhook_id, id), 201)


@router.get(
    DELIVERIES + "/{delivery_id}/attempts",
    access=READ,
    errors=(errors.WebhookNotFound, errors.DeliveryNotFound),
    response_model=ListEnvelope[WebhookAttempt],
    summary="List attempts at a delivery",
)
async def list_attempts(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: Caller, parts: Parts, query: Lists
) -> Response:
    """List the attempts at a delivery or at `any`."""
    return json_response(await history.attempts(parts, caller, webhook_id, delivery_id, query))


@router.get(
    DELIVERIES + "/{delivery_id}/attempts/{id}",
    access=READ,
    errors=(errors.DeliveryAttemptNotFound,),
    response_model=WebhookAttempt,
    summary="Get an attempt",
)
async def get_attempt(
    webhook_id: WebhookId, delivery_id: DeliveryId, id: UUID, caller: Caller, parts: Parts, query: Records
) -> Response:
    """Read one attempt: the receiver's status, the beginning of its answer, what went wrong."""
    return json_response(await history.attempt(parts, caller, webhook_id, delivery_id, id, query))
