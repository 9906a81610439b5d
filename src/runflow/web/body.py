"""Limits on request bodies, before anything reads them."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runflow import errors
from runflow.web.exception_handlers import respond

STREAMED_PREFIX = "/v1/storage/"
"""Signed uploads: streamed, and bounded by their own signature."""
CHUNK_SUFFIX = "/chunks"
"""Chunks of models: streamed, and bounded by what they say they are."""


class BodyLimit:
    """Refuses a body over `limit` bytes with 413, by its declared length or as soon as it passes the limit."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Wrap the application; `limit` in bytes."""
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or _is_streamed(scope["path"]):
            await self.app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > self.limit:
            await respond(self._too_large())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> errors.PayloadTooLarge:
        return errors.PayloadTooLarge(f"The request body is larger than {self.limit} bytes (RUNFLOW_MAX_BODY_BYTES).")


def _is_streamed(path: str) -> bool:
    return path.startswith(STREAMED_PREFIX) or (path.startswith("/v1/model-uploads/") and path.endswith(CHUNK_SUFFIX))
