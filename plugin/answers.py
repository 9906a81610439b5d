"""From a request to an answer: other web sites refused, JSON read, errors in the platform's envelope.

A handler returns a JSON value or a response of its own, and raises `Refused` for everything that a person can repair.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from .comfyui import LOG

Handler = Callable[[web.Request], Awaitable[Any]]

_READING = ("GET", "HEAD")
_OWN_SITE = ("same-origin", "none")


class Refused(Exception):
    """The request cannot be done. `message` says why and names the next step; `code` is for programs."""

    def __init__(self, message: str, *, code: str = "REFUSED", status: int = 400, errors: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.errors = errors

    def envelope(self) -> dict[str, Any]:
        """The error as JSON, in the platform's envelope (docs/api.md, "Errors")."""
        return {"code": self.code, "message": self.message, "errors": self.errors}


_LARGEST_EXACT = 2**53 - 1


def for_page(value: Any) -> Any:
    """A value as a page reads it exactly: integers beyond JavaScript's numbers, such as long seeds, go as text."""
    return str(value) if isinstance(value, int) and abs(value) > _LARGEST_EXACT else value


class Routes:
    """The routes of one feature: method, path and handler of each."""

    def __init__(self) -> None:
        """Start with none."""
        self._routes: list[tuple[str, str, Handler]] = []

    def __iter__(self) -> Iterator[tuple[str, str, Handler]]:
        """Every route, in the order in which they were declared."""
        return iter(self._routes)

    def on(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Declare that the decorated handler serves this path."""

        def add(handler: Handler) -> Handler:
            self._routes.append((method, path, handler))
            return handler

        return add

    def add_to(self, table: web.RouteTableDef) -> None:
        """Add them to a server's table; all answer in the same way (`answered`)."""
        for method, path, handler in self._routes:
            table.route(method, path)(answered(handler))


def answered(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Wrap a handler: check where the request comes from, turn what it returns or raises into a response."""

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            refuse_other_sites(request)
            result = await handler(request)
        except Refused as refused:
            return web.json_response(refused.envelope(), status=refused.status)
        except web.HTTPException:
            raise
        except Exception:
            LOG.exception("Runflow: %s %s failed", request.method, request.path)
            fault = Refused("The plugin failed; ComfyUI's log says where.", code="INTERNAL", status=500)
            return web.json_response(fault.envelope(), status=500)
        return result if isinstance(result, web.StreamResponse) else web.json_response(result)

    return answer


def refuse_other_sites(request: web.Request) -> None:
    """Refuse a writing request that another web site makes through the person's browser.

    Browsers name the site in Sec-Fetch-Site (on https and on loopback) and in Origin; programs send neither.

    Raises:
        Refused: the request comes from another site.
    """
    if request.method in _READING:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        ours = site in _OWN_SITE
    elif origin is not None:
        ours = origin.partition("://")[2].lower() == request.host.lower()
    else:
        ours = True
    if not ours:
        message = "This request came from another web site. Open ComfyUI's own page and repeat it there."
        raise Refused(message, code="OTHER_SITE", status=403)


async def read_json(request: web.Request) -> dict[str, Any]:
    """The request's body, a JSON object sent as application/json (which another site's form cannot send).

    Raises:
        Refused: the body is anything else.
    """
    if request.content_type != "application/json":
        raise Refused("Send the body as application/json.", code="UNSUPPORTED_MEDIA_TYPE", status=415)
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refused("The body is not JSON.", code="INVALID_JSON") from None
    if not isinstance(body, dict):
        raise Refused("The body must be a JSON object.", code="INVALID_JSON")
    return body
