"""Callbacks over HTTP: signing secrets, delivery history, redelivery."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.deliveries.callbacks import history, service
from runflow.deliveries.callbacks.schemas import (
    CallbackDelivery,
    CallbackSecret,
    CreateCallbackSecret,
    NewCallbackSecret,
    PatchCallbackSecret,
)
from runflow.runs.routes import EXECUTE, READ
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Callbacks", "What was told about one run or batch, and the secrets that sign it.")
router = Router(TAG)

SECRET_READ = any_of("callback-secrets:read")

Parts = Annotated[Services, Depends(services)]

SECRETS = "/v1/callback-secrets"


@router.get(
    "/v1/runs/{run_id}/callback",
    access=READ,
    errors=(errors.RunNotFound,),
    response_model=list[CallbackDelivery],
    summary="List a run's callbacks",
)
async def run_history(run_id: UUID, caller: Caller, parts: Parts) -> Response:
    """List what was delivered to the run's `callback_url`, newest first, with every attempt."""
    return json_response(await history.of_run(parts, caller, run_id))


@router.post(
    "/v1/runs/{run_id}/callback-redeliveries",
    access=EXECUTE,
    errors=(errors.RunNotFound,),
    status_code=201,
    response_model=CallbackDelivery,
    summary="Deliver a run's callback again",
)
async def redeliver_run(run_id: UUID, caller: Caller, parts: Parts) -> Response:
    """Tell the `callback_url` how the run stands now, with fresh URLs. 409 while a delivery is in flight."""
    return json_response(await history.redeliver_run(parts, caller, run_id), 201)


@router.get(
    "/v1/batches/{batch_id}/callback",
    access=READ,
    errors=(errors.BatchNotFound,),
    response_model=list[CallbackDelivery],
    summary="List a batch's callbacks",
)
async def batch_history(batch_id: UUID, caller: Caller, parts: Parts) -> Response:
    """List what was delivered to the batch's `callback_url`, newest first, with every attempt."""
    return json_response(await history.of_batch(parts, caller, batch_id))


@router.post(
    "/v1/batches/{batch_id}/callback-redeliveries",
    access=EXECUTE,
    errors=(errors.BatchNotFound,),
    status_code=201,
    response_model=CallbackDelivery,
    summary="Deliver a batch's callback again",
)
async def redeliver_batch(batch_id: UUID, caller: Caller, parts: Parts) -> Response:
    """Tell the `callback_url` how the batch stands now, with fresh URLs. 409 while a delivery is in flight."""
    return json_response(await history.redeliver_batch(parts, caller, batch_id), 201)


@router.get(SECRETS, access=SECRET_READ, response_model=ListEnvelope[CallbackSecret], summary="List callback secrets")
async def list_secrets(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the secrets that your organization's callbacks are signed with. Their text is never shown again."""
    return json_response(await service.list_page(parts, caller, query))


@router.post(
    SECRETS,
    access=any_of("callback-secrets:create"),
    errors=(errors.LimitReached,),
    shows_secret=True,
    status_code=201,
    response_model=NewCallbackSecret,
    summary="Create a callback secret",
    openapi_extra=openapi_body(CreateCallbackSecret, required=False),
)
async def create_secret(
    body: Annotated[CreateCallbackSecret, Depends(json_body(CreateCallbackSecret, optional=True))],
    caller: Caller,
    parts: Parts,
) -> Response:
    """Create a secret; the answer shows it as `plain_secret`, this once.

    The first one becomes the current one at once. Every further one signs by Standard Webhooks beside it, until it is
    promoted with `PATCH {"is_current": true}`.
    """
    return json_response(await service.create(parts, caller, body), 201)


@router.get(
    SECRETS + "/{id}",
    access=SECRET_READ,
    errors=(errors.CallbackSecretNotFound,),
    response_model=CallbackSecret,
    summary="Get a callback secret",
)
async def get_secret(
    id: UUID, caller: Caller, parts: Parts, query: Annotated[RecordQuery, Depends(record_query)]
) -> Response:
    """Read a secret's record, without its text."""
    return json_response(await service.get(parts, caller, id, query))


@router.patch(
    SECRETS + "/{id}",
    access=any_of("callback-secrets:edit"),
    errors=(errors.CallbackSecretNotFound, errors.Conflict),
    response_model=CallbackSecret,
    summary="Change a callback secret",
    openapi_extra=openapi_body(PatchCallbackSecret),
)
async def change_secret(
    id: UUID,
    body: Annotated[PatchCallbackSecret, Depends(json_body(PatchCallbackSecret))],
    caller: Caller,
    parts: Parts,
) -> Response:
    """Rename, promote, disable or enable a secret. One secret is always current, and that one is enabled."""
    return json_response(await service.change(parts, caller, id, body))


@router.delete(
    SECRETS + "/{id}",
    access=any_of("callback-secrets:delete"),
    errors=(errors.CallbackSecretNotFound, errors.Conflict),
    status_code=204,
    summary="Delete a callback secret",
)
async def delete_secret(id: UUID, caller: Caller, parts: Parts) -> Response:
    """Delete a secret, for good and at once. The current one of several cannot be deleted: promote another first."""
    await service.delete(parts, caller, id)
    return Response(status_code=204)
