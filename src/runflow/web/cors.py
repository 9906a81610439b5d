"""CORS as the outermost layer: editors in the field call from their own page (docs/compatibility.md, "CORS")."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from runflow import errors
from runflow.web.responses import json_response

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
ALLOWED_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "X-Organization-Id", "Last-Event-ID", "Prefer")
EXPOSED_HEADERS = (
    "Runflow-Request-Id",
    "Retry-After",
    "Location",
    "Idempotency-Replayed",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)


class _Cors(CORSMiddleware):
    """Starlette's, but a refused preflight has the one envelope too."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        asked = request_headers.get("Access-Control-Request-Headers", "")
        message = (
            f"Pages of other origins may use the methods {', '.join(METHODS)} and the headers "
            f"{', '.join(ALLOWED_HEADERS)}; this one asked for {request_headers.get('Access-Control-Request-Method')} "
            f"with {asked or 'no headers'}."
        )
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return json_response(errors.BadRequest(message).envelope(), 400, kept)


def allow_every_origin(app: ASGIApp) -> ASGIApp:
    """Wrap the finished application: any origin, preflights without authentication, errors included, no cookies."""
    return _Cors(
        app,
        allow_origins=["*"],
        allow_methods=METHODS,
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=600,
    )
