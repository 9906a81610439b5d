"""Every scope that an API key can hold: one list, for keys and for what makes them.

Routes name the scopes that open them; the server refuses to start with a route that names another. Nouns share scopes,
and the command line hands out all of them without loading any noun: so they stand here and not with the routes.
"""

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
"""As resource and actions; written `resource:action`."""

ALL_SCOPES: tuple[str, ...] = tuple(
    f"{resource}:{action}" for resource, actions in RESOURCES.items() for action in actions
)
