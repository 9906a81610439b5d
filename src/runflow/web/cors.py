"""CORS as the outermost layer (decisions.md, "Errors"; comfyui.md 7: editors in the field call from their own page)."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
ALLOWED_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "X-Organization-Id", "Last-Event-ID")
EXPOSED_HEADERS = (
    "Runflow-Request-Id",
    "Retry-After",
    "Idempotency-Replayed",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)


def allow_every_origin(app: ASGIApp) -> ASGIApp:
    """Wrap the finished application: any origin, preflights without authentication, errors included, no cookies."""
    return CORSMiddleware(
        app,
        allow_origins=["*"],
        allow_methods=METHODS,
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=600,
    )
