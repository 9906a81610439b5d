"""Which errors the OpenAPI document promises for a route: one shared response for each set of codes. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from runflow.errors import ALL_ERRORS
from runflow.web.route_table import Access, Needed, RouteSpec

_HEADERS = {
    "Runflow-Request-Id": {
        "description": "Quote it when you ask the operator for help.",
        "schema": {"type": "string", "format": "uuid"},
    }
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_ERRORS = {error.code: error for error in reversed(ALL_ERRORS)}


def codes_of(route: RouteSpec, operation: Mapping[str, Any]) -> set[str]:
    """Return the codes that a route can answer: those it names, and what its method, parameters, body and access make.

    `operation` is the route's own in the OpenAPI document.
    """
    codes = {"INTERNAL", "UNAVAILABLE", *(error.code for error in route.errors)}
    parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "q" in parameters:
        codes |= {"INVALID_FILTER", "INVALID_SORT", "INVALID_CURSOR"}
    if parameters & {"fields", "embed"}:
        codes.add("INVALID_FIELD")
    if parameters:
        codes.add("VALIDATION_ERROR")
    if route.takes_idempotency_key:
        codes |= {"VALIDATION_ERROR", "CONFLICT"}
    if route.method == "POST":
        codes.add("PAYLOAD_TOO_LARGE")  # also where nobody reads a body
    codes |= _of_access(route.access)
    codes |= _of_body(operation.get("requestBody", {}).get("content", {}))
    return codes


def _of_access(access: Needed) -> set[str]:
    if access is Access.PUBLIC:
        return set()
    if access is Access.SIGNED:
        return {"URL_EXPIRED"}
    codes = {"UNAUTHORIZED", "RATE_LIMITED"}
    if access is Access.WORKER:
        return codes | {"UPGRADE_REQUIRED"}
    codes.add("ORGANIZATION_MEMBERSHIP_REQUIRED")
    if not isinstance(access, Access):
        codes.add("PERMISSION_DENIED")
    return codes


def _of_body(content: Mapping[str, Any]) -> set[str]:
    if "application/json" in content:
        return {"BAD_REQUEST", "INVALID_JSON", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE", "VALIDATION_ERROR"}
    return {"BAD_REQUEST", "PAYLOAD_TOO_LARGE"} if content else set()


def responses_of(codes: Iterable[str]) -> dict[str, Any]:
    """Return the error responses of an operation that can answer these codes: references into `components`."""
    return {
        str(status): {"$ref": f"#/components/responses/{_name(of_status)}"} for status, of_status in _by_status(codes)
    }


def components(of_operations: Iterable[Iterable[str]]) -> dict[str, Any]:
    """Return `components.responses`, given the codes of each operation: an example of each code, and its headers."""
    return {
        _name(of_status): {
            "description": ", ".join(f"`{code}`" for code in of_status),
            "headers": _HEADERS | (_RETRY if status in (429, 503) else {}),
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Error"},
                    "examples": {
                        code: {"value": {"code": code, "message": _ERRORS[code]().message, "errors": None}}
                        for code in of_status
                    },
                }
            },
        }
        for codes in of_operations
        for status, of_status in _by_status(codes)
    }


def _by_status(codes: Iterable[str]) -> list[tuple[int, list[str]]]:
    found: dict[int, list[str]] = {}
    for code in sorted(codes):
        found.setdefault(_ERRORS[code].status, []).append(code)
    return sorted(found.items())


def _name(codes: Iterable[str]) -> str:
    return "-".join(codes)
