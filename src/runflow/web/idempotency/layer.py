"""The layer around the routes that gives `Idempotency-Key` its meaning (docs/api.md, "Idempotency").

A POST with the header runs inside a unit of work: its answer is stored in the very transaction that creates what it
created. So there is never one without the other, whatever dies when. A POST without the header passes through.
"""

import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runflow import errors
from runflow.web.auth import authorize
from runflow.web.idempotency import queries
from runflow.web.idempotency.queries import FirstAnswer, Name
from runflow.web.route_table import RouteSpec, RouteTable
from runflow.web.services import Services
from runflow.web.waiting import follow

HEADER = b"idempotency-key"
REPLAYED = "Idempotency-Replayed"
_VALID = re.compile(rb"[\x20-\x7e]{1,255}")


class Idempotency:
    """Stands between the limits on bodies and the routes."""

    def __init__(self, app: ASGIApp, routes: RouteTable) -> None:
        """Wrap the routes."""
        self.app = app
        self._routes = RouteTable(route for route in routes if route.takes_idempotency_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        keys = [value for name, value in scope["headers"] if name == HEADER]
        route = next(self._routes.at(scope["path"]), None) if keys else None
        if route is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        caller = await authorize(request, route.access)
        if len(keys) != 1 or not _VALID.fullmatch(keys[0].strip()):
            raise _bad_header()
        name = Name(caller.org_id, route.path, keys[0].strip().decode("ascii"))
        answer = await self._once(request, route, name, await request.body())
        if 200 <= answer.status_code < 300:
            # What was created is committed: now its end can be waited for, the first time and at every repetition.
            ended = await follow(request, caller, route, bytes(answer.body))
            if ended is not None and REPLAYED in answer.headers:
                ended.headers[REPLAYED] = answer.headers[REPLAYED]
            answer = ended or answer
        await answer(scope, receive, send)

    async def _once(self, request: Request, route: RouteSpec, name: Name, body: bytes) -> Response:
        services: Services = request.app.state.services
        request_hash = _hash(request, body)
        async with services.db.unit_of_work(name.org_id) as unit:
            if not await queries.try_lock(unit.transaction, name):
                raise _still_running()
            first = await queries.first_answer(unit.transaction, name)
            if first is not None:
                return _replayed(first, request_hash)
            answer = await self._answer(request, body)
            if not 200 <= answer.status_code < 300:
                unit.abandon()
                return answer
            kept = FirstAnswer(
                request_hash=request_hash,
                status_code=answer.status_code,
                content_type=answer.headers.get("content-type"),
                body=None if route.shows_secret else bytes(answer.body),
            )
            await queries.store(unit.transaction, name, kept)
        return answer

    async def _answer(self, request: Request, body: bytes) -> Response:
        """Let the routes serve the request and return their whole answer instead of sending it."""
        start: Message = {}
        content = bytearray()
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return pending.pop() if pending else await request.receive()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                content.extend(message.get("body", b""))

        await self.app(request.scope, receive, keep)
        answer = Response(bytes(content), start["status"])
        answer.raw_headers = list(start["headers"])
        return answer


def _hash(request: Request, body: bytes) -> bytes:
    """Tell requests apart: two paths of one route are two requests, as are two bodies."""
    parts = (request.scope["path"].encode("utf-8", "surrogateescape"), request.scope["query_string"], body)
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _replayed(first: FirstAnswer, request_hash: bytes) -> Response:
    if first.request_hash != request_hash:
        raise errors.Conflict(
            "This Idempotency-Key was used for another request on this route within the last 24 hours. Send a new key "
            "with a new request, or the same request with this one."
        )
    if first.body is None:
        raise errors.Conflict(
            f"The first request with this Idempotency-Key succeeded with {first.status_code}. Its answer held a secret "
            "that is shown once and not kept, so it cannot be repeated. Look at the list for what it created; if the "
            "secret is lost, delete that and create another with a new Idempotency-Key."
        )
    answer = Response(first.body, first.status_code, {REPLAYED: "true"})
    if first.content_type is not None:
        answer.headers["content-type"] = first.content_type
    return answer


def _still_running() -> errors.Conflict:
    return errors.Conflict(
        "The first request with this Idempotency-Key is still running. Send it again in a second to get its answer.",
        headers={"Retry-After": "1"},
    )


def _bad_header() -> errors.ValidationFailed:
    message = "Idempotency-Key must be sent once, with 1 to 255 printable ASCII characters."
    found = {"loc": ["header", "Idempotency-Key"], "msg": message, "type": "invalid_idempotency_key"}
    return errors.ValidationFailed(message, errors=[found])
