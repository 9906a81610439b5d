"""Logs, node runs, attempts and events of runs over HTTP."""

import re
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request
from starlette.responses import Response

from runflow import errors
from runflow.runs.history.follow import follow, look_after
from runflow.runs.history.schemas import Attempt, LogLine, NodeRun
from runflow.runs.history.service import History
from runflow.runs.history.timeline import END
from runflow.runs.routes import READ, TAG
from runflow.storage.keys import base_url
from runflow.web.auth import Caller
from runflow.web.event_stream import EventStream
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.router import Router
from runflow.web.services import Services, services

router = Router(TAG)


Parts = Annotated[Services, Depends(services)]
RunOrAny = Annotated[UUID | Literal["any"], Path(description="Id of the run, or `any` for all runs.", examples=["any"])]
RunId = Annotated[UUID, Path(description="Id of the run.")]
Lists = Annotated[ListQuery, Depends(list_query)]
Records = Annotated[RecordQuery, Depends(record_query)]

EVENTS_DESCRIPTION = (
    "Server-Sent Events `status`, `progress`, `log` and `node`: `id` a growing number, `data` an object with `run_id` "
    "and `timestamp`. The last one is the status with `is_terminal` true. `queue` and `preview` are true at this "
    "moment only: they have no `id`, and are not told again."
)
EVENT_SCHEMA = {
    "description": "Lines `id: ` (send the last one as `Last-Event-ID` to go on behind it), `event: `, `data: ` (JSON) "
    "and `retry: ` (milliseconds to wait before connecting again); an empty line ends an event.",
}


async def history(request: Request) -> History:
    """Return the process's reader of what happened in runs."""
    state = request.app.state
    return History(state.services, state.run_reader)


Reader = Annotated[History, Depends(history)]


@router.get(
    "/v1/runs/{id}/events",
    access=READ,
    errors=(errors.RunNotFound,),
    response_class=Response,
    summary="Follow a run",
    responses={
        200: {"description": EVENTS_DESCRIPTION, "content": {"text/event-stream": {"schema": EVENT_SCHEMA}}},
        204: {"description": "The end was told before `Last-Event-ID`: nothing follows, do not connect again."},
    },
)
async def events(
    id: RunId,
    caller: Caller,
    parts: Parts,
    last_event_id: Annotated[
        str | None, Query(description="Where the header cannot be sent: the last `id` that you have seen.")
    ] = None,
    previews: Annotated[
        bool,
        Query(description="Also tell what the running node shows: pictures of up to 256 KiB, two a second at most."),
    ] = False,
    header: Annotated[
        str | None, Header(alias="Last-Event-ID", description="The last `id` that you have seen; wins over the query.")
    ] = None,
) -> Response:
    """Follow a run from its beginning, or from the last event that you have seen, until it has ended.

    Nothing is missing and nothing comes twice, but for what a cancelled run's worker tells after its end; of progress,
    only the last in each half second is told. Comments keep the connection alive. Where the stream ends without a
    terminal status, connect again with `Last-Event-ID`.
    """
    after = _number(header, ["header", "Last-Event-ID"])
    if after is None:
        after = _number(last_event_id, ["query", "last_event_id"]) or 0
    await look_after(parts, caller.org_id, id, END)
    if after >= END:
        return Response(status_code=204)
    return EventStream(follow(parts, caller.org_id, id, after, previews=previews), parts.limits.waiting(caller.org_id))


def _number(text: str | None, where: list[str]) -> int | None:
    if text is None or not text.strip():
        return None
    if not re.fullmatch("[0-9]{1,18}", text.strip(), re.ASCII):
        message = f"{where[-1]} must be the id of an event of this stream, a number. Leave it out to start anew."
        raise errors.ValidationFailed(message, errors=[{"loc": where, "msg": message, "type": "event_id"}])
    return min(int(text), END)


@router.get(
    "/v1/runs/{run_id}/logs",
    access=READ,
    errors=(errors.RunNotFound,),
    response_model=ListEnvelope[LogLine],
    summary="List log lines",
)
async def list_logs(run_id: RunOrAny, caller: Caller, request: Request, query: Lists, reader: Reader) -> Response:
    """List the log lines of a run, or of all runs, newest first."""
    return json_response(await reader.logs(caller, _one(run_id), query, _address(request)))


@router.get(
    "/v1/runs/{run_id}/logs/{id}",
    access=READ,
    errors=(errors.RunLogNotFound,),
    response_model=LogLine,
    summary="Get a log line",
)
async def get_log(
    run_id: RunOrAny, id: UUID, caller: Caller, request: Request, query: Records, reader: Reader
) -> Response:
    """Read one log line."""
    return json_response(await reader.log(caller, _one(run_id), id, query, _address(request)))


@router.get(
    "/v1/runs/{run_id}/node-runs",
    access=READ,
    errors=(errors.RunNotFound,),
    response_model=ListEnvelope[NodeRun],
    summary="List node runs",
)
async def list_node_runs(run_id: RunOrAny, caller: Caller, query: Lists, reader: Reader) -> Response:
    """List the nodes that ComfyUI executed in a run, or in all runs. They are known when an attempt has ended."""
    return json_response(await reader.node_runs(caller, _one(run_id), query))


@router.get(
    "/v1/runs/{run_id}/node-runs/{id}",
    access=READ,
    errors=(errors.NodeRunNotFound,),
    response_model=NodeRun,
    summary="Get a node run",
)
async def get_node_run(run_id: RunOrAny, id: UUID, caller: Caller, query: Records, reader: Reader) -> Response:
    """Read one node run."""
    return json_response(await reader.node_run(caller, _one(run_id), id, query))


@router.get(
    "/v1/runs/{run_id}/attempts",
    access=READ,
    errors=(errors.RunNotFound,),
    response_model=ListEnvelope[Attempt],
    summary="List attempts at a run",
)
async def list_attempts(run_id: RunId, caller: Caller, query: Lists, reader: Reader) -> Response:
    """List the tries of a run, the first one first: on which worker and GPU, how long, and why it failed."""
    return json_response(await reader.attempts(caller, run_id, query))


def _one(run: UUID | str) -> UUID | None:
    return run if isinstance(run, UUID) else None


def _address(request: Request) -> str:
    return base_url(request, request.app.state.services.settings)
