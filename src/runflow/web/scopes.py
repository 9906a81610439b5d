"""Which scopes open which route: one table, read by the routes, the documentation and the sweeps.

Any one scope of a route's set suffices (docs/api.md, "Authentication"). Nothing else is implied.
"""

from enum import StrEnum

RESOURCES: dict[str, tuple[str, ...]] = {
    "comfyui-workflows": ("read", "create", "edit", "delete"),
    "runs": ("create", "read", "execute"),
    "assets": ("create", "read", "edit", "delete"),
    "evaluations": ("create", "read", "edit"),
    "webhooks": ("create", "read", "edit", "delete"),
    "callback-secrets": ("create", "read", "edit", "delete"),
    "api-keys": ("create", "read", "delete"),
    "billing": ("read", "edit"),
    "credit_balance": ("read",),
    "gpus": ("edit",),
    "workers": ("read", "edit"),
    "organizations": ("read", "create", "edit"),
    "audit-events": ("read",),
}
"""Every scope that a key can hold, as resource and actions; written `resource:action`."""

ALL_SCOPES: tuple[str, ...] = tuple(
    f"{resource}:{action}" for resource, actions in RESOURCES.items() for action in actions
)


class Access(StrEnum):
    """Routes that need something else than a scope."""

    PUBLIC = "public"
    """No authentication."""
    SIGNED = "signed"
    """The URL itself is the permission: signed and expiring."""
    WORKER = "worker"
    """A worker token."""
    ANY_KEY = "any_key"
    """Any valid API key."""


_WORKFLOWS = "/v1/comfyui-workflows"
_OF_WORKFLOW = _WORKFLOWS + "/{comfyui_workflow_id}"
_BY_PATH = _WORKFLOWS + "/{owner}/{slug}"
_READ = frozenset({"comfyui-workflows:read"})
_CREATE = frozenset({"comfyui-workflows:create"})
_EDIT = frozenset({"comfyui-workflows:edit"})
_DELETE = frozenset({"comfyui-workflows:delete"})
_DEFINE = _CREATE | _EDIT
_DISPATCH = frozenset({"runs:create", "comfyui-workflows:create"})
_RUN_READ = frozenset({"runs:read", "comfyui-workflows:read"})
_RUN_EXECUTE = frozenset({"runs:execute"})
_UPLOAD = frozenset({"assets:create", "comfyui-workflows:create", "comfyui-workflows:edit"})
_ASSET_READ = frozenset({"assets:read"})
_ASSET_EDIT = frozenset({"assets:edit"})
_BILLING = frozenset({"billing:read", "credit_balance:read"})
_ORG_READ = frozenset({"organizations:read"})
_ORG_EDIT = frozenset({"organizations:edit"})
_HOOK_READ = frozenset({"webhooks:read"})
_DELIVERIES = "/v1/webhooks/{webhook_id}/deliveries"
_EVALUATION_READ = frozenset({"evaluations:read"})
_EVALUATION_EDIT = frozenset({"evaluations:edit"})

ROUTE_SCOPES: dict[tuple[str, str], frozenset[str] | Access] = {
    # The installation
    ("GET", "/v1/health"): Access.PUBLIC,
    ("HEAD", "/v1/health"): Access.PUBLIC,
    ("GET", "/v1/readiness"): Access.PUBLIC,
    ("HEAD", "/v1/readiness"): Access.PUBLIC,
    ("GET", "/v1/openapi.json"): Access.PUBLIC,
    ("GET", "/"): Access.PUBLIC,
    ("GET", "/docs"): Access.PUBLIC,
    ("GET", "/docs/{name:path}"): Access.PUBLIC,
    ("GET", "/llms.txt"): Access.PUBLIC,
    # Workflows
    ("GET", _WORKFLOWS): _READ,
    ("POST", _WORKFLOWS): _CREATE,
    ("GET", _WORKFLOWS + "/categories"): _READ,
    ("GET", _WORKFLOWS + "/categories/{code}"): _READ,
    ("GET", _WORKFLOWS + "/{id}"): _READ,
    ("PATCH", _WORKFLOWS + "/{id}"): _EDIT,
    ("DELETE", _WORKFLOWS + "/{id}"): _DELETE,
    ("GET", _WORKFLOWS + "/{id}/versions"): _READ,
    ("GET", _WORKFLOWS + "/{id}/versions/{version}"): _READ,
    ("POST", _WORKFLOWS + "/{id}/rollbacks"): _EDIT,
    ("POST", _WORKFLOWS + "/{id}/restorations"): _DELETE,
    ("GET", _OF_WORKFLOW + "/inputs"): _READ,
    ("POST", _OF_WORKFLOW + "/inputs"): _DEFINE,
    ("GET", _OF_WORKFLOW + "/inputs/{id}"): _READ,
    ("PATCH", _OF_WORKFLOW + "/inputs/{id}"): _EDIT,
    ("DELETE", _OF_WORKFLOW + "/inputs/{id}"): _DELETE | _EDIT,
    ("GET", _OF_WORKFLOW + "/outputs"): _READ,
    ("POST", _OF_WORKFLOW + "/outputs"): _DEFINE,
    ("GET", _OF_WORKFLOW + "/outputs/{id}"): _READ,
    ("PATCH", _OF_WORKFLOW + "/outputs/{id}"): _EDIT,
    ("DELETE", _OF_WORKFLOW + "/outputs/{id}"): _DELETE | _EDIT,
    ("GET", _OF_WORKFLOW + "/run-performance-stats"): _READ,
    ("GET", _OF_WORKFLOW + "/evaluation-stats"): _READ,
    ("GET", _BY_PATH): _READ,
    ("GET", _BY_PATH + "/evaluation-issue-categories"): _READ,
    ("GET", _BY_PATH + "/openapi.json"): _READ,
    # Runs
    ("POST", _BY_PATH + "/runs"): _DISPATCH,
    ("GET", _BY_PATH + "/runs"): _RUN_READ,
    ("POST", "/v1/models/{owner}/{slug}/runs"): _DISPATCH,
    ("GET", "/v1/runs"): _RUN_READ,
    ("GET", "/v1/runs/statuses"): _RUN_READ,
    ("GET", "/v1/runs/{id}"): _RUN_READ,
    ("GET", "/v1/runs/{id}/events"): _RUN_READ,
    ("GET", "/v1/runs/{run_id}/logs"): _RUN_READ,
    ("GET", "/v1/runs/{run_id}/logs/{id}"): _RUN_READ,
    ("GET", "/v1/runs/{run_id}/node-runs"): _RUN_READ,
    ("GET", "/v1/runs/{run_id}/node-runs/{id}"): _RUN_READ,
    ("GET", "/v1/runs/{run_id}/attempts"): _RUN_READ,
    ("POST", "/v1/runs/{id}/cancellation"): _RUN_EXECUTE,
    ("POST", "/v1/admin/runs/{run_id}/cancellation"): _RUN_EXECUTE,
    ("POST", "/v1/runs/{id}/reruns"): _RUN_EXECUTE,
    # Batches
    ("POST", _BY_PATH + "/batches"): _DISPATCH,
    ("POST", "/v1/models/{owner}/{slug}/batches"): _DISPATCH,
    ("GET", "/v1/batches"): _RUN_READ,
    ("GET", "/v1/batches/{id}"): _RUN_READ,
    ("GET", "/v1/batches/{batch_id}/items"): _RUN_READ,
    ("GET", "/v1/batches/{batch_id}/items/{id}"): _RUN_READ,
    ("POST", "/v1/batches/{id}/cancellation"): _RUN_EXECUTE,
    # Callbacks and webhooks
    ("GET", "/v1/runs/{run_id}/callback"): _RUN_READ,
    ("POST", "/v1/runs/{run_id}/callback-redeliveries"): _RUN_EXECUTE,
    ("GET", "/v1/batches/{batch_id}/callback"): _RUN_READ,
    ("POST", "/v1/batches/{batch_id}/callback-redeliveries"): _RUN_EXECUTE,
    ("GET", "/v1/callback-secrets"): frozenset({"callback-secrets:read"}),
    ("POST", "/v1/callback-secrets"): frozenset({"callback-secrets:create"}),
    ("GET", "/v1/callback-secrets/{id}"): frozenset({"callback-secrets:read"}),
    ("PATCH", "/v1/callback-secrets/{id}"): frozenset({"callback-secrets:edit"}),
    ("DELETE", "/v1/callback-secrets/{id}"): frozenset({"callback-secrets:delete"}),
    ("GET", "/v1/webhooks"): _HOOK_READ,
    ("POST", "/v1/webhooks"): frozenset({"webhooks:create"}),
    ("GET", "/v1/webhooks/event-types"): _HOOK_READ,
    ("GET", "/v1/webhooks/event-types/{code}"): _HOOK_READ,
    ("GET", "/v1/webhooks/{id}"): _HOOK_READ,
    ("PATCH", "/v1/webhooks/{id}"): frozenset({"webhooks:edit"}),
    ("DELETE", "/v1/webhooks/{id}"): frozenset({"webhooks:delete"}),
    ("GET", _DELIVERIES): _HOOK_READ,
    ("GET", _DELIVERIES + "/{id}"): _HOOK_READ,
    ("POST", _DELIVERIES + "/{id}/redeliveries"): frozenset({"webhooks:edit"}) | _RUN_EXECUTE,
    ("GET", _DELIVERIES + "/{delivery_id}/attempts"): _HOOK_READ,
    ("GET", _DELIVERIES + "/{delivery_id}/attempts/{id}"): _HOOK_READ,
    # Assets and files
    ("POST", "/v1/asset-uploads"): _UPLOAD,
    ("POST", "/v1/asset-uploads/{id}/confirmations"): _UPLOAD,
    ("GET", "/v1/assets"): _ASSET_READ,
    ("GET", "/v1/assets/types"): _ASSET_READ,
    ("GET", "/v1/assets/{id}"): _ASSET_READ,
    ("PATCH", "/v1/assets/{id}"): _ASSET_EDIT,
    ("DELETE", "/v1/assets/{id}"): frozenset({"assets:delete"}),
    ("GET", "/v1/asset-folders"): _ASSET_READ,
    ("POST", "/v1/asset-folders"): frozenset({"assets:create"}) | _ASSET_EDIT,
    ("GET", "/v1/asset-folders/{id}"): _ASSET_READ,
    ("PATCH", "/v1/asset-folders/{id}"): _ASSET_EDIT,
    ("DELETE", "/v1/asset-folders/{id}"): frozenset({"assets:delete"}),
    # Models
    ("POST", "/v1/model-lookups"): _READ,
    ("POST", "/v1/model-uploads"): _DEFINE,
    ("GET", "/v1/model-uploads/{id}"): _DEFINE,
    ("PUT", "/v1/model-uploads/{id}/chunks"): _DEFINE,
    ("POST", "/v1/model-uploads/{id}/confirmations"): _DEFINE,
    ("GET", "/v1/comfyui-models"): _READ,
    ("GET", "/v1/comfyui-models/{id}"): _READ,
    ("DELETE", "/v1/comfyui-models/{id}"): _DELETE,
    ("PUT", "/v1/storage/{key:path}"): Access.SIGNED,
    ("GET", "/v1/storage/{key:path}"): Access.SIGNED,
    ("HEAD", "/v1/storage/{key:path}"): Access.SIGNED,
    # Evaluations
    ("GET", "/v1/evaluations"): _EVALUATION_READ,
    ("POST", "/v1/evaluations"): frozenset({"evaluations:create"}),
    ("GET", "/v1/evaluations/statuses"): _EVALUATION_READ,
    ("GET", "/v1/evaluations/job-classes"): _EVALUATION_READ,
    ("GET", "/v1/evaluations/{id}"): _EVALUATION_READ,
    ("PATCH", "/v1/evaluations/{evaluation_id}/feedback"): _EVALUATION_EDIT,
    ("GET", "/v1/runs/{run_id}/evaluations"): _EVALUATION_READ,
    ("PATCH", "/v1/runs/{run_id}/evaluations/{evaluation_id}/feedback"): _EVALUATION_EDIT,
    # Organizations, members, keys, audit
    ("GET", "/v1/auth/me"): Access.ANY_KEY,
    ("GET", "/v1/organizations"): _ORG_READ,
    ("POST", "/v1/organizations"): frozenset({"organizations:create"}),
    ("GET", "/v1/organizations/{id}"): _ORG_READ,
    ("PATCH", "/v1/organizations/{id}"): _ORG_EDIT,
    ("GET", "/v1/organizations/{organization_id}/members"): _ORG_READ,
    ("POST", "/v1/organizations/{organization_id}/members"): _ORG_EDIT,
    ("GET", "/v1/organizations/{organization_id}/members/{id}"): _ORG_READ,
    ("PATCH", "/v1/organizations/{organization_id}/members/{id}"): _ORG_EDIT,
    ("DELETE", "/v1/organizations/{organization_id}/members/{id}"): _ORG_EDIT,
    ("GET", "/v1/api-keys"): frozenset({"api-keys:read"}),
    ("POST", "/v1/api-keys"): frozenset({"api-keys:create"}),
    ("GET", "/v1/api-keys/{id}"): frozenset({"api-keys:read"}),
    ("DELETE", "/v1/api-keys/{id}"): frozenset({"api-keys:delete"}),
    ("GET", "/v1/audit-events"): frozenset({"audit-events:read"}),
    # GPUs, workers, usage
    ("GET", "/v1/gpus"): Access.ANY_KEY,
    ("GET", "/v1/gpus/{code}"): Access.ANY_KEY,
    ("PATCH", "/v1/gpus/{code}"): frozenset({"gpus:edit"}),
    ("GET", "/v1/workers"): frozenset({"workers:read"}),
    ("GET", "/v1/workers/{id}"): frozenset({"workers:read"}),
    ("PATCH", "/v1/workers/{id}"): frozenset({"workers:edit"}),
    ("GET", "/v1/usage"): _BILLING,
    ("GET", "/v1/billing/balance"): _BILLING,
    ("PATCH", "/v1/billing/balance"): frozenset({"billing:edit"}),
    ("GET", "/v1/credit-balances"): _BILLING,
    # Workers' own API
    ("POST", "/v1/worker/registrations"): Access.WORKER,
    ("POST", "/v1/worker/leases"): Access.WORKER,
    ("POST", "/v1/worker/leases/{id}/heartbeats"): Access.WORKER,
    ("POST", "/v1/worker/leases/{id}/uploads"): Access.WORKER,
    ("POST", "/v1/worker/leases/{id}/completions"): Access.WORKER,
}
"""Every route of the API. `tests/web/test_scopes.py` fails when a route is missing here."""

IDEMPOTENCY_EXEMPT: frozenset[str] = frozenset()
"""POST routes of API keys on which `Idempotency-Key` means nothing; on every other one it does."""

SECRET_ANSWERS = frozenset({"/v1/api-keys", "/v1/organizations", "/v1/callback-secrets", "/v1/webhooks"})
"""POST routes whose answers hold a secret that is shown once: no repeated request gets it again."""
