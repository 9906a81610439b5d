"""Routes of the Worker API (docs/worker-api.md)."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from starlette.responses import Response

from runflow import errors
from runflow.protocol.codec import PARCEL, NotAMessage, unpack
from runflow.protocol.completions import Completion, CompletionAnswer
from runflow.protocol.leases import Heartbeat, HeartbeatAnswer, LeaseAnswer, LeaseRequest
from runflow.protocol.outputs import Uploads, UploadsAnswer
from runflow.protocol.prebuilds import PrebuildAnswer, PrebuildReport, PrebuildReported, PrebuildRequest
from runflow.protocol.workers import Registered, Registration
from runflow.queue import leases
from runflow.queue.worker_api import WorkerApi, require_protocol
from runflow.web.auth import WorkerToken, worker
from runflow.web.context import while_connected
from runflow.web.json_body import json_body, openapi_body, parse
from runflow.web.responses import json_response
from runflow.web.route_table import Access
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workers.routes import TAG

router = Router(TAG, prefix="/v1/worker")


def reached_at(request: Request) -> str:
    """Return the address under which this worker reaches the server: its signed URLs lead there.

    Before a proxy that speaks TLS for the server, only `RUNFLOW_PUBLIC_URL` says so.
    """
    parts: Services = request.app.state.services
    public = (parts.settings.public_url or "").rstrip("/")
    if public.partition("://")[2] == request.url.netloc:
        return public
    return f"{request.url.scheme}://{request.url.netloc}"


Parts = Annotated[Services, Depends(services)]


async def worker_api(request: Request) -> WorkerApi:
    """Return the Worker API of this process."""
    found: WorkerApi = request.app.state.worker_api
    return found


Api = Annotated[WorkerApi, Depends(worker_api)]


@router.post(
    "/registrations",
    access=Access.WORKER,
    errors=(errors.Conflict, errors.WorkerSuperseded),
    response_model=Registered,
    status_code=201,
    summary="Register a worker",
    openapi_extra=openapi_body(Registration),
)
async def register(
    body: Annotated[Registration, Depends(json_body(Registration, caller=worker))], token: WorkerToken, api: Api
) -> Response:
    """Say what this worker is and whether it can work.

    A name belongs to the token that registered it first: with another one 409, until that token is revoked. A new
    process of that name takes it over; the one that had it gets 409, and never gets it back.
    """
    return json_response(await api.register(body, token), 201)


lease_body = json_body(LeaseRequest, caller=worker)


@router.post(
    "/leases",
    access=Access.WORKER,
    errors=(errors.Conflict, errors.WorkerSuperseded),
    response_model=LeaseAnswer,
    summary="Wait for work",
    openapi_extra=openapi_body(LeaseRequest),
)
async def lease(
    body: Annotated[LeaseRequest, Depends(lease_body)], request: Request, token: WorkerToken, api: Api
) -> Response:
    """Long poll for the next run."""
    return json_response(await while_connected(request, api.lease(body, token, reached_at(request))))


@router.hot("POST", "/leases")
async def hot_lease(request: Request) -> Response:
    """Answer as `lease` does."""
    return await lease(await lease_body(request, None), request, await worker(request), await worker_api(request))


heartbeat_body = json_body(Heartbeat, caller=worker)


@router.post(
    "/leases/{id}/heartbeats",
    access=Access.WORKER,
    errors=(errors.LeaseNotFound, errors.LeaseLost),
    response_model=HeartbeatAnswer,
    summary="Renew a lease",
    openapi_extra=openapi_body(Heartbeat),
)
async def heartbeat(
    id: UUID, body: Annotated[Heartbeat, Depends(heartbeat_body)], token: WorkerToken, parts: Parts
) -> Response:
    """Renew a lease, report events, hear of cancellation."""
    require_protocol(body)
    return json_response(await leases.heartbeat(parts, id, body, token))


@router.hot("POST", "/leases/{id:uuid}/heartbeats")
async def hot_heartbeat(request: Request) -> Response:
    """Answer as `heartbeat` does."""
    body = await heartbeat_body(request, None)
    return await heartbeat(request.path_params["id"], body, await worker(request), await services(request))


@router.post(
    "/leases/{id}/uploads",
    access=Access.WORKER,
    errors=(errors.LeaseNotFound, errors.LeaseLost, errors.UrlExpired),
    response_model=UploadsAnswer,
    summary="Get upload URLs for outputs",
    openapi_extra=openapi_body(Uploads),
)
async def uploads(
    id: UUID,
    body: Annotated[Uploads, Depends(json_body(Uploads, caller=worker))],
    request: Request,
    token: WorkerToken,
    api: Api,
) -> Response:
    """Sign upload URLs for the outputs of a lease. They end with it; 403 once the run has ended, e.g. cancelled."""
    return json_response(await api.uploads(id, body, token, reached_at(request)))


_plain_completion = json_body(Completion, caller=worker)
_COMPLETION_BODY = openapi_body(Completion)
_COMPLETION_BODY["requestBody"]["content"][PARCEL] = {"schema": {"type": "string", "format": "binary"}}


async def completion_body(request: Request, _caller: Annotated[Any, Depends(worker)]) -> tuple[Completion, list[bytes]]:
    """Read a completion and the contents that come with it, one for each output without a key (FastAPI dependency).

    Raises `ValidationFailed` where their sizes are not what the completion says.
    """
    if request.headers.get("content-type") != PARCEL:
        body = await _plain_completion(request, _caller)
        rest = memoryview(b"")
    else:
        try:
            message, rest = unpack(await request.body())
        except NotAMessage as problem:
            raise errors.ValidationFailed(f"The body {problem}.") from None
        body = parse(Completion, message)
    contents = []
    for output in body.outputs:
        if output.object_key is None:
            contents.append(bytes(rest[: output.size_bytes]))
            rest = rest[output.size_bytes :]
            if len(contents[-1]) != output.size_bytes:
                raise errors.ValidationFailed(f"The body ends before the bytes of the output {output.filename!r}.")
    if rest:
        raise errors.ValidationFailed(f"The body has {len(rest)} bytes more than its outputs.")
    return body, contents


@router.post(
    "/leases/{id}/completions",
    access=Access.WORKER,
    errors=(errors.Conflict, errors.LeaseNotFound, errors.LeaseLost),
    response_model=CompletionAnswer,
    summary="End an attempt",
    openapi_extra=_COMPLETION_BODY,
)
async def complete(
    id: UUID,
    told: Annotated[tuple[Completion, list[bytes]], Depends(completion_body)],
    request: Request,
    token: WorkerToken,
    api: Api,
) -> Response:
    """Report how an attempt ended; small outputs may come along, and the next run with the answer."""
    body, contents = told
    return json_response(await api.complete(id, body, contents, token, reached_at(request)))


@router.hot("POST", "/leases/{id:uuid}/completions")
async def hot_complete(request: Request) -> Response:
    """Answer as `complete` does."""
    told = await completion_body(request, None)
    return await complete(request.path_params["id"], told, request, await worker(request), await worker_api(request))


@router.post(
    "/prebuilds",
    access=Access.WORKER,
    errors=(errors.Conflict, errors.WorkerSuperseded),
    response_model=PrebuildAnswer,
    summary="Wait for something to prepare",
    openapi_extra=openapi_body(PrebuildRequest),
)
async def prebuild(
    body: Annotated[PrebuildRequest, Depends(json_body(PrebuildRequest, caller=worker))],
    request: Request,
    token: WorkerToken,
    api: Api,
) -> Response:
    """Long poll of a worker without runs for a version whose runtime and models were asked for beforehand."""
    return json_response(await while_connected(request, api.prebuild(body, token, reached_at(request))))


@router.post(
    "/prebuilds/{id}/reports",
    access=Access.WORKER,
    errors=(errors.Conflict, errors.LeaseNotFound, errors.WorkerSuperseded),
    response_model=PrebuildReported,
    summary="Report on a pre-build",
    openapi_extra=openapi_body(PrebuildReport),
)
async def report_prebuild(
    id: UUID,
    body: Annotated[PrebuildReport, Depends(json_body(PrebuildReport, caller=worker))],
    token: WorkerToken,
    api: Api,
) -> Response:
    """Say how far a pre-build is, which renews its lease, or how it ended."""
    return json_response(await api.report_prebuild(id, body, token))
