"""Which errors the OpenAPI document promises for a route: one shared response for each set of codes. Pure."""

from collections.abc import Iterable, Mapping
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
_ERRORS = {error.code: error for error in reversed(ALL_ERRORS)}

_MISSING = {
    "/v1/comfyui-workflows/{": "COMFYUI_WORKFLOW_NOT_FOUND",
    "/v1/models/{": "COMFYUI_WORKFLOW_NOT_FOUND",
    "/reruns": "COMFYUI_WORKFLOW_NOT_FOUND",
    "/versions/{": "COMFYUI_WORKFLOW_VERSION_NOT_FOUND",
    "/rollbacks": "COMFYUI_WORKFLOW_VERSION_NOT_FOUND",
    "/inputs/{": "COMFYUI_WORKFLOW_INPUT_NOT_FOUND",
    "/outputs/{": "COMFYUI_WORKFLOW_OUTPUT_NOT_FOUND",
    "/categories/{": "CATEGORY_NOT_FOUND",
    "/runs/{": "RUN_NOT_FOUND",
    "/logs/{": "RUN_LOG_NOT_FOUND",
    "/node-runs/{": "NODE_RUN_NOT_FOUND",
    "/batches/{": "BATCH_NOT_FOUND",
    "/items/{": "BATCH_ITEM_NOT_FOUND",
    "/callback-secrets/{": "CALLBACK_SECRET_NOT_FOUND",
    "/webhooks/{": "WEBHOOK_NOT_FOUND",
    "/event-types/{": "EVENT_TYPE_NOT_FOUND",
    "/deliveries/{": "DELIVERY_NOT_FOUND",
    "/attempts/{": "DELIVERY_ATTEMPT_NOT_FOUND",
    "/asset-uploads/{": "ASSET_NOT_FOUND",
    "/assets/{": "ASSET_NOT_FOUND",
    "/asset-folders/{": "ASSET_FOLDER_NOT_FOUND",
    "/model-uploads/{": "MODEL_UPLOAD_NOT_FOUND",
    "/comfyui-models/{": "MODEL_NOT_FOUND",
    "/evaluations/{": "EVALUATION_NOT_FOUND",
    "/organizations/{": "ORGANIZATION_NOT_FOUND",
    "/members/{": "MEMBER_NOT_FOUND",
    "/api-keys/{": "API_KEY_NOT_FOUND",
    "/gpus/{": "GPU_NOT_FOUND",
    "/workers/{": "WORKER_NOT_FOUND",
    "/leases/{": "LEASE_NOT_FOUND",
    "/storage/{": "NOT_FOUND",
}
"""What is not there, by a part of the path."""


_LIMITED = (
    *("/runs", "/batches", "/reruns", "/evaluations"),  # whose `data:` URIs become assets
    *("/asset-uploads", "/asset-folders", "/model-uploads", "/webhooks", "/callback-secrets"),
    *("/organizations", "/members", "/api-keys"),
)
"""Routes that create what an organization can have too much of."""


def codes_of(method: str, path: str, operation: Mapping[str, Any], access: frozenset[str] | Access) -> set[str]:
    """Return the codes that one operation can answer: what its path, parameters, body and access make possible."""
    codes = {"INTERNAL", "UNAVAILABLE", *(code for part, code in _MISSING.items() if part in path)}
    parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "q" in parameters:
        codes |= {"INVALID_FILTER", "INVALID_SORT", "INVALID_CURSOR"}
    if parameters & {"fields", "embed"}:
        codes.add("INVALID_FIELD")
    if parameters:
        codes.add("VALIDATION_ERROR")
    codes |= _of_access(path, access)
    codes |= _of_body(operation.get("requestBody", {}).get("content", {}))
    if method != "get" and access is not Access.SIGNED:
        codes.add("CONFLICT")
    if method == "post" and isinstance(access, frozenset):
        codes.add("VALIDATION_ERROR")  # of its Idempotency-Key
    if path.startswith("/v1/storage/"):
        codes |= {"UNSUPPORTED_MEDIA_TYPE"} if method == "put" else {"RANGE_NOT_SATISFIABLE"}
    elif method in ("post", "patch"):
        codes |= _of_work(path)
    return codes


def _of_access(path: str, access: frozenset[str] | Access) -> set[str]:
    if access is Access.PUBLIC:
        return set()
    if access is Access.SIGNED:
        return {"URL_EXPIRED"}
    codes = {"UNAUTHORIZED", "RATE_LIMITED"}
    if access is Access.WORKER:
        return codes | {"UPGRADE_REQUIRED", *(("LEASE_LOST",) if "{" in path else ())}
    codes.add("ORGANIZATION_MEMBERSHIP_REQUIRED")
    if isinstance(access, frozenset):
        codes.add("PERMISSION_DENIED")
    return codes


def _of_body(content: Mapping[str, Any]) -> set[str]:
    if "application/json" in content:
        return {"BAD_REQUEST", "INVALID_JSON", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE", "VALIDATION_ERROR"}
    return {"BAD_REQUEST", "PAYLOAD_TOO_LARGE"} if content else set()


def _of_work(path: str) -> set[str]:
    """Return what only some routes refuse: by what they do."""
    codes = {"LIMIT_REACHED"} if path.endswith(_LIMITED) else set()
    if path.endswith(("/runs", "/batches", "/reruns")):
        codes |= {"INSUFFICIENT_CREDIT", "WORKFLOW_DISABLED"}
    elif path.endswith("/evaluations"):
        codes.add("INSUFFICIENT_CREDIT")
    elif path.startswith("/v1/comfyui-workflows"):
        codes.add("WORKFLOW_INVALID")
    elif path.startswith("/v1/model-uploads"):
        codes.add("MODEL_UPLOADS_DISABLED")
    return codes


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
