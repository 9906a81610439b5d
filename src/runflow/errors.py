"""Every error that a caller can meet, one class per code.

The class docstring is the default message. docs/api.md, "Errors", lists the codes, and is tested against
`ALL_ERRORS`.
"""

from typing import Any, ClassVar


class RunflowError(Exception):
    """Something failed. The message says what, where, and what to do next."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str | None = None,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Keep a sentence for people, per-field `errors` (`{loc, msg, type}`) and extra response headers."""
        self.message = message or (type(self).__doc__ or "").strip()
        self.errors = errors
        self.headers = headers or {}
        super().__init__(self.message)

    def envelope(self) -> dict[str, Any]:
        """Return the one error body of the API: `{"code", "message", "errors"}`."""
        return {"code": self.code, "message": self.message, "errors": self.errors}


class BadRequest(RunflowError):
    """The request is malformed."""

    status = 400
    code = "BAD_REQUEST"


class InvalidFilter(BadRequest):
    """The filter `q` cannot be read."""

    code = "INVALID_FILTER"


class InvalidSort(BadRequest):
    """The value of `sort_by` names a field that this list cannot be sorted by, or would sort too many items."""

    code = "INVALID_SORT"


class InvalidCursor(BadRequest):
    """The cursor `pq` is not one that this list gave out for this sort order. Start again without `pq`."""

    code = "INVALID_CURSOR"


class InvalidField(BadRequest):
    """`fields` or `embed` names something that this resource does not have."""

    code = "INVALID_FIELD"


class InvalidJson(BadRequest):
    """The request body is not valid JSON."""

    code = "INVALID_JSON"


class Unauthorized(RunflowError):
    """Send a valid API key as `Authorization: Bearer rf_live_…`. This one is missing, unknown, expired or revoked."""

    status = 401
    code = "UNAUTHORIZED"


class InsufficientCredit(RunflowError):
    """The budget that the operator set for this organization is used up."""

    status = 402
    code = "INSUFFICIENT_CREDIT"


class PermissionDenied(RunflowError):
    """The API key lacks a scope that this route needs."""

    status = 403
    code = "PERMISSION_DENIED"


class ModelUploadsDisabled(PermissionDenied):
    """This server takes no models: put the file on the workers, or ask the operator to set RUNFLOW_ACCEPT_MODELS."""

    code = "MODEL_UPLOADS_DISABLED"


class OrganizationMembershipRequired(RunflowError):
    """`X-Organization-Id` names an organization that this API key does not belong to. Leave the header out."""

    status = 403
    code = "ORGANIZATION_MEMBERSHIP_REQUIRED"


class NotFound(RunflowError):
    """There is nothing at this address. `GET /v1/openapi.json` lists the routes."""

    status = 404
    code = "NOT_FOUND"


class WorkflowNotFound(NotFound):
    """There is no such workflow in your organization, and no public one. `GET /v1/comfyui-workflows` lists yours."""

    code = "COMFYUI_WORKFLOW_NOT_FOUND"


class ExampleNotFound(NotFound):
    """This workflow keeps no such example. `GET /v1/comfyui-workflows/{id}/examples` lists those that it keeps."""

    code = "EXAMPLE_NOT_FOUND"


class GoldenRunNotFound(NotFound):
    """This workflow has no such golden run. `GET /v1/comfyui-workflows/{id}/golden-runs` lists those that it has."""

    code = "GOLDEN_RUN_NOT_FOUND"


class RunNotFound(NotFound):
    """There is no such run in your organization. `GET /v1/runs` lists yours."""

    code = "RUN_NOT_FOUND"


class AssetNotFound(NotFound):
    """There is no such asset in your organization. `GET /v1/assets` lists yours."""

    code = "ASSET_NOT_FOUND"


class ApiKeyNotFound(NotFound):
    """There is no such API key in your organization. `GET /v1/api-keys` lists yours."""

    code = "API_KEY_NOT_FOUND"


class WorkflowVersionNotFound(NotFound):
    """There is no such version of this workflow. `GET /v1/comfyui-workflows/{id}/versions` lists them."""

    code = "COMFYUI_WORKFLOW_VERSION_NOT_FOUND"


class WorkflowInputNotFound(NotFound):
    """There is no such input of this workflow. `GET /v1/comfyui-workflows/{id}/inputs` lists them."""

    code = "COMFYUI_WORKFLOW_INPUT_NOT_FOUND"


class WorkflowOutputNotFound(NotFound):
    """There is no such output of this workflow. `GET /v1/comfyui-workflows/{id}/outputs` lists them."""

    code = "COMFYUI_WORKFLOW_OUTPUT_NOT_FOUND"


class CategoryNotFound(NotFound):
    """There is no such category. `GET /v1/comfyui-workflows/categories` lists them."""

    code = "CATEGORY_NOT_FOUND"


class RunLogNotFound(NotFound):
    """There is no such log line of this run."""

    code = "RUN_LOG_NOT_FOUND"


class NodeRunNotFound(NotFound):
    """There is no such node run of this run."""

    code = "NODE_RUN_NOT_FOUND"


class BatchNotFound(NotFound):
    """There is no such batch in your organization. `GET /v1/batches` lists yours."""

    code = "BATCH_NOT_FOUND"


class BatchItemNotFound(NotFound):
    """There is no such item in this batch. `GET /v1/batches/{id}/items` lists them."""

    code = "BATCH_ITEM_NOT_FOUND"


class CallbackSecretNotFound(NotFound):
    """There is no such callback secret in your organization. `GET /v1/callback-secrets` lists yours."""

    code = "CALLBACK_SECRET_NOT_FOUND"


class WebhookNotFound(NotFound):
    """There is no such webhook in your organization. `GET /v1/webhooks` lists yours."""

    code = "WEBHOOK_NOT_FOUND"


class EventTypeNotFound(NotFound):
    """There is no such event type. `GET /v1/webhooks/event-types` lists them."""

    code = "EVENT_TYPE_NOT_FOUND"


class DeliveryNotFound(NotFound):
    """There is no such delivery in your organization."""

    code = "DELIVERY_NOT_FOUND"


class DeliveryAttemptNotFound(NotFound):
    """There is no such attempt of this delivery."""

    code = "DELIVERY_ATTEMPT_NOT_FOUND"


class ModelNotFound(NotFound):
    """There is no such model in your organization. `GET /v1/models` lists yours."""

    code = "MODEL_NOT_FOUND"


class ModelUploadNotFound(NotFound):
    """There is no such upload of a model: it was confirmed, given up, or nobody went on with it for a week."""

    code = "MODEL_UPLOAD_NOT_FOUND"


class AssetFolderNotFound(NotFound):
    """There is no such asset folder in your organization. `GET /v1/asset-folders` lists yours."""

    code = "ASSET_FOLDER_NOT_FOUND"


class EvaluationNotFound(NotFound):
    """There is no such evaluation in your organization. `GET /v1/evaluations` lists yours."""

    code = "EVALUATION_NOT_FOUND"


class OrganizationNotFound(NotFound):
    """There is no such organization, or your key does not belong to it."""

    code = "ORGANIZATION_NOT_FOUND"


class MemberNotFound(NotFound):
    """There is no such member of this organization."""

    code = "MEMBER_NOT_FOUND"


class GpuNotFound(NotFound):
    """There is no such GPU in the catalogue. `GET /v1/gpus` lists them."""

    code = "GPU_NOT_FOUND"


class WorkerNotFound(NotFound):
    """There is no such worker. `GET /v1/workers` lists them."""

    code = "WORKER_NOT_FOUND"


class SourceNotFound(NotFound):
    """There is no such source. `GET /v1/sources` lists them."""

    code = "SOURCE_NOT_FOUND"


class LeaseNotFound(NotFound):
    """There is no such lease. It was never given out, or its offer lapsed: ask for a new one."""

    code = "LEASE_NOT_FOUND"


class MethodNotAllowed(RunflowError):
    """This route exists, but not for this method. The `Allow` header lists the methods it has."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class Conflict(RunflowError):
    """The request conflicts with what is there already."""

    status = 409
    code = "CONFLICT"


class LimitReached(Conflict):
    """The organization has as much of this as it may have."""

    code = "LIMIT_REACHED"


class WorkflowDisabled(Conflict):
    """The workflow is disabled. Set its `status_code` to `active` to run it again."""

    code = "WORKFLOW_DISABLED"


class WorkflowNotServing(Conflict):
    """No version of this workflow serves yet: its golden run has not passed. The workflow's `golden` says how it is."""

    code = "WORKFLOW_NOT_SERVING"


class LeaseLost(Conflict):
    """This lease is no longer yours: it expired and the run went on without it. Drop the work."""

    code = "LEASE_LOST"


class WorkerSuperseded(Conflict):
    """Another process has taken the name of this worker, so this one gets no runs any more: end it. Each worker needs a
    name of its own (`runflow worker --name …`)."""

    code = "WORKER_SUPERSEDED"


class PayloadTooLarge(RunflowError):
    """The request body is larger than this route accepts."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(RunflowError):
    """Send the body as `Content-Type: application/json`."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"


class RangeNotSatisfiable(RunflowError):
    """The file has none of the bytes that the `Range` header asks for."""

    status = 416
    code = "RANGE_NOT_SATISFIABLE"


class ValidationFailed(RunflowError):
    """The request is well-formed but its content is not acceptable; `errors` names each field."""

    status = 422
    code = "VALIDATION_ERROR"


class WorkflowInvalid(ValidationFailed):
    """The workflow's prompt cannot be served; `errors` names each node."""

    code = "WORKFLOW_INVALID"


class UpgradeRequired(RunflowError):
    """Worker and server speak different protocol versions. Install the same Runflow release on both."""

    status = 426
    code = "UPGRADE_REQUIRED"


class RateLimited(RunflowError):
    """Rate limit exceeded: wait as long as `Retry-After` says."""

    status = 429
    code = "RATE_LIMITED"


class Internal(RunflowError):
    """Something went wrong on the server. Give the operator the `Runflow-Request-Id` of this answer."""


class Unavailable(RunflowError):
    """The server cannot reach its database or its storage right now. Try again in a moment."""

    status = 503
    code = "UNAVAILABLE"


class UrlExpired(RunflowError):
    """This signed URL has expired or was altered. Read the record again to get a fresh one."""

    status = 403
    code = "URL_EXPIRED"


def _subclasses(cls: type[RunflowError]) -> list[type[RunflowError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in _subclasses(child))]


ALL_ERRORS: tuple[type[RunflowError], ...] = tuple(_subclasses(RunflowError))
"""Every error class, for the documentation test and the OpenAPI error examples."""
