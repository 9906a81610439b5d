"""Every scope that an API key can hold: one list, for keys and for what makes them.

Routes name the scopes that open them; the server refuses to start with a route that names another. Nouns share scopes,
and the command line hands out all of them without loading any noun: so they stand here and not with the routes.
"""

from collections.abc import Iterable

RESOURCES: dict[str, tuple[str, ...]] = {
    "comfyui-workflows": ("read", "create", "edit", "delete"),
    "runs": ("create", "read", "execute", "prioritize"),
    "assets": ("create", "read", "edit", "delete"),
    "evaluations": ("create", "read", "edit"),
    "webhooks": ("create", "read", "edit", "delete"),
    "callback-secrets": ("create", "read", "edit", "delete"),
    "api-keys": ("create", "read", "delete"),
    "billing": ("read", "edit"),
    "credit_balance": ("read",),
    "gpus": ("edit",),
    "workers": ("read", "edit"),
    "sources": ("read", "approve"),
    "organizations": ("read", "create", "edit"),
    "audit-events": ("read",),
}
"""As resource and actions; written `resource:action`."""

OPERATOR_SCOPES = frozenset({"organizations:create", "sources:read", "sources:approve"})
"""What only keys of the operator's organization hold: an organization has limits, which a second one would double, and
what is approved is built on machines that serve all."""

SCOPES_OF_FIELDS = frozenset({"runs:prioritize"})
"""What opens no route, but lets a request to one have a field."""

ALL_SCOPES: tuple[str, ...] = tuple(
    f"{resource}:{action}" for resource, actions in RESOURCES.items() for action in actions
)


def tenant_scopes(scopes: Iterable[str]) -> list[str]:
    """Return those of these scopes that a key of any organization can hold, in their order."""
    return [scope for scope in scopes if scope not in OPERATOR_SCOPES]
