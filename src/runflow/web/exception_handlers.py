"""One error envelope for every way to fail: `{"code", "message", "errors"}` (docs/api.md, "Errors")."""

from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runflow import errors
from runflow.db.transaction import CONNECTION_TROUBLE, TOOK_TOO_LONG
from runflow.web.responses import json_response
from runflow.web.route_table import RouteTable

log = structlog.get_logger()

_BY_STATUS: dict[int, type[errors.RunflowError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    422: errors.ValidationFailed,
    503: errors.Unavailable,
}

Meant = Callable[[str, str], str | None]
"""Says of a method and an address what to ask for instead; None where that cannot be told."""

SAID = 3
"""So many faults of a request stand in its message; all of them are in `errors`."""
_AN_ID = "a UUID such as 0190d3a1-4b1c-7e2f-8a55-1f2e3d4c5b6a"
_A_TIME = "an ISO 8601 time such as 2026-01-31T10:00:00+00:00"
_PLAIN = {
    "model_type": "Must be a JSON object",
    "model_attributes_type": "Must be a JSON object",
    "dict_type": "Must be a JSON object",
    "list_type": "Must be a JSON array",
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_from_date_parsing"), f"Must be {_A_TIME}"),
    "timezone_aware": "Must say its time zone, as 2026-01-31T10:00:00+00:00 does",
}
"""What to say of a fault, by its type, where Pydantic's text is for programmers of Python."""


def respond(error: errors.RunflowError) -> Response:
    """Write the envelope."""
    return json_response(error.envelope(), error.status, error.headers)


def translate(error: Exception) -> errors.RunflowError:
    """Return the error that docs/api.md, "Errors", has for any exception.

    What it does not know becomes `INTERNAL`, without details.
    """
    if isinstance(error, errors.RunflowError):
        return error
    if isinstance(error, RequestValidationError):
        return _validation(error)
    if isinstance(error, HTTPException):
        kind = _BY_STATUS.get(error.status_code, errors.Internal)
        default = HTTPStatus(error.status_code).phrase
        message = None if error.detail in (default, "") else str(error.detail)
        return kind(message, headers=dict(error.headers or {}))
    if isinstance(error, TOOK_TOO_LONG):
        return errors.Unavailable(
            "The database did not answer this request in time. Ask for less at once: a narrower filter (q), or a "
            "shorter range of time.",
            headers={"Retry-After": "2"},
        )
    if isinstance(error, CONNECTION_TROUBLE):
        log.warning("database unavailable", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
        return errors.Unavailable(headers={"Retry-After": "2"})
    return errors.Internal()


def install(app: FastAPI, routes: RouteTable, hints: Sequence[Meant] = ()) -> None:
    """Register the handlers of expected errors; `RequestContext` catches the rest.

    An address that does not exist is answered with the one that is meant, where one of the `hints` tells it.
    """

    def meant(method: str, path: str) -> str | None:
        return next((found for hint in hints if (found := hint(method, path))), None)

    def methods_at(path: str) -> str:
        """Return the methods of every route at this address; the router knows those of the first one only."""
        return ", ".join(sorted({route.method for route in routes.at(path)}))

    async def handle(request: Request, error: Exception) -> Response:
        problem = translate(error)
        if isinstance(problem, errors.MethodNotAllowed):
            there = methods_at(request.scope["path"])
            hint = meant(request.method, request.scope["path"])
            message = f"This address takes {there}, not {request.method}.{' ' + hint if hint else ''}"
            problem = errors.MethodNotAllowed(message, headers={"Allow": there})
        elif type(problem) is errors.NotFound and not methods_at(path := request.scope["path"]):
            near = next((one for one in neighbours(path) if request.method in methods_at(one).split(", ")), None)
            hint = f"You may mean `{near[:200]}`." if near else meant(request.method, path)
            if hint:
                problem.message = f"There is nothing at this address. {hint}"
        return respond(problem)

    for kind in (errors.RunflowError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)


def neighbours(path: str) -> Iterator[str]:
    """Yield addresses that differ from this one as a base URL that was put together wrongly differs from the right one.

    A slash at the end, two in a row, no `/v1`, two of them, or one below `/api`.
    """
    plain = "/" + "/".join(part for part in path.split("/") if part)
    yield plain
    yield f"/v1{plain}"
    for wrong in ("/v1", "/api"):
        if plain.startswith(f"{wrong}/v1/"):
            yield plain.removeprefix(wrong)


def _no_id(name: str, sent: Any, *, or_any: bool) -> dict[str, Any]:
    """Return the fault of an id in an address that cannot be one: the same on every route."""
    message = f"Must be {_AN_ID}{', or `any`' if or_any else ''}; found {str(sent)[:60]!r}"
    return {"loc": ["path", name], "msg": message, "type": "uuid_parsing"}


def _validation(error: RequestValidationError) -> errors.RunflowError:
    items: list[dict[str, Any]] = []
    faults = list(error.errors())
    # Where an id may also be the literal `any`, each of the two has its fault.
    literal = {item["loc"][1] for item in faults if item["loc"][0] == "path" and item["type"] == "literal_error"}
    for item in faults:
        if item["type"] == "json_invalid":
            position = item["loc"][-1]
            reason = item.get("ctx", {}).get("error", "")
            return errors.InvalidJson(f"The request body is not valid JSON at character {position}: {reason}.")
        if item["loc"][0] == "path" and item["type"] == "literal_error":
            continue
        if item["loc"][0] == "path" and item["type"] == "uuid_parsing":
            items.append(_no_id(item["loc"][1], item.get("input"), or_any=item["loc"][1] in literal))
            continue
        # Pydantic's own words before ours, or those that name what only Python has.
        message = _PLAIN.get(item["type"]) or item["msg"].removeprefix("Value error, ")
        items.append({"loc": list(item["loc"]), "msg": message, "type": item["type"]})
    # Many clients show the message alone, and the second fault often explains the first: `inputs` for `input`.
    said = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in items[:SAID]]
    more = f" (and {len(items) - SAID} more)" if len(items) > SAID else ""
    return errors.ValidationFailed(f"{'; '.join(said)}{more}", errors=items)
