"""Which errors the OpenAPI document promises for a route: one shared response per status, with its codes. Pure."""

from collections.abc import Mapping
from typing import Any

from runflow.errors import ALL_ERRORS
from runflow.web.scopes import Access

_HEADERS = {
    "Runflow-Request-Id": {
        "description": "Quote it when you ask the operator for help.",
        "schema": {"type": "string", "format": "uuid"},
    }
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    402: "InsufficientCredit",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    413: "PayloadTooLarge",
    415: "UnsupportedMediaType",
    416: "RangeNotSatisfiable",
    422: "ValidationFailed",
    426: "UpgradeRequired",
    429: "RateLimited",
    500: "Internal",
    503: "Unavailable",
}
_WORKER_ONLY = frozenset({"LEASE_NOT_FOUND", "LEASE_LOST", "UPGRADE_REQUIRED"})


def components() -> dict[str, Any]:
    """Return `components.responses`: for each status its codes, an example of each, and its headers."""
    return {
        name: {
            "description": ", ".join(f"`{error.code}`" for error in _of(status)),
            "headers": _HEADERS | (_RETRY if status in (429, 503) else {}),
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Error"},
                    "examples": {
                        error.code: {"value": {"code": error.code, "message": error().message, "errors": None}}
                        for error in _of(status)
                    },
                }
            },
        }
        for status, name in _NAMES.items()
    }


def responses_of(
    method: str, path: str, operation: Mapping[str, Any], access: frozenset[str] | Access
) -> dict[str, Any]:
    """Return the error responses of one operation: what its parameters, its body and its access make possible."""
    statuses = {500, 503}
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if names & {"q", "sort_by", "fields", "embed", "pq"}:
        statuses.add(400)
    if operation.get("parameters") or "{" in path:
        statuses.add(422)
    if "{" in path:
        statuses.add(404)
    if access is Access.SIGNED:
        statuses.add(403)
    elif access is not Access.PUBLIC:
        statuses |= {401, 429}
    if isinstance(access, frozenset):
        statuses |= {403, 422}
    if access is Access.WORKER:
        statuses |= {409, 426}
    if "requestBody" in operation:
        statuses |= {400, 409, 413, 415, 422}
    if method in ("post", "patch", "delete"):
        statuses.add(409)
    if method == "post" and path.endswith(("/runs", "/batches", "/reruns", "/evaluations")):
        statuses.add(402)
    if path.startswith("/v1/storage/"):
        statuses |= {413, 415} if method == "put" else {416}
    return {str(status): {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in sorted(statuses)}


def _of(status: int) -> list[Any]:
    """Return the errors of a status, each code once, those of the Worker API last."""
    found = {error.code: error for error in reversed(ALL_ERRORS) if error.status == status}
    return sorted(found.values(), key=lambda error: (error.code in _WORKER_ONLY, error.code))
