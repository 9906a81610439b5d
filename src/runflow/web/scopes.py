"""Which scopes open which route: one table, read by the routes, the documentation and the sweeps.

Any one scope of a route's set suffices (decisions.md, "Organizations, keys, scopes, secrets"). Nothing else is implied.
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
    "billing": ("read",),
    "credit_balance": ("read",),
    "gpus": ("edit",),
    "workers": ("read", "edit"),
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
_READ = frozenset({"comfyui-workflows:read"})
_CREATE = frozenset({"comfyui-workflows:create"})
_EDIT = frozenset({"comfyui-workflows:edit"})
_DELETE = frozenset({"comfyui-workflows:delete"})
_DISPATCH = frozenset({"runs:create", "comfyui-workflows:create"})
_RUN_READ = frozenset({"runs:read", "comfyui-workflows:read"})
_UPLOAD = frozenset({"assets:create", "comfyui-workflows:create", "comfyui-workflows:edit"})

ROUTE_SCOPES: dict[tuple[str, str], frozenset[str] | Access] = {
    ("GET", "/v1/health"): Access.PUBLIC,
    ("GET", "/v1/readiness"): Access.PUBLIC,
    ("GET", "/v1/openapi.json"): Access.PUBLIC,
    ("GET", _WORKFLOWS): _READ,
    ("POST", _WORKFLOWS): _CREATE,
    ("GET", _WORKFLOWS + "/{id}"): _READ,
    ("PATCH", _WORKFLOWS + "/{id}"): _EDIT,
    ("DELETE", _WORKFLOWS + "/{id}"): _DELETE,
    ("GET", _WORKFLOWS + "/{owner}/{slug}"): _READ,
    ("POST", _WORKFLOWS + "/{owner}/{slug}/runs"): _DISPATCH,
    ("GET", _WORKFLOWS + "/{owner}/{slug}/runs"): _RUN_READ,
    ("GET", "/v1/runs/{id}"): _RUN_READ,
    ("POST", "/v1/runs/{id}/cancellation"): frozenset({"runs:execute"}),
    ("POST", "/v1/asset-uploads"): _UPLOAD,
    ("POST", "/v1/asset-uploads/{id}/confirmations"): _UPLOAD,
    ("GET", "/v1/assets/{id}"): frozenset({"assets:read"}),
    ("PUT", "/v1/storage/{key:path}"): Access.SIGNED,
    ("GET", "/v1/storage/{key:path}"): Access.SIGNED,
    ("HEAD", "/v1/storage/{key:path}"): Access.SIGNED,
    ("GET", "/v1/api-keys"): frozenset({"api-keys:read"}),
    ("POST", "/v1/api-keys"): frozenset({"api-keys:create"}),
    ("DELETE", "/v1/api-keys/{id}"): frozenset({"api-keys:delete"}),
    ("POST", "/v1/worker/registrations"): Access.WORKER,
    ("POST", "/v1/worker/leases"): Access.WORKER,
    ("POST", "/v1/worker/leases/{id}/heartbeats"): Access.WORKER,
    ("POST", "/v1/worker/leases/{id}/uploads"): Access.WORKER,
    ("POST", "/v1/worker/leases/{id}/completions"): Access.WORKER,
}
"""Every route of the API. `tests/web/test_scopes.py` fails when a route is missing here."""
