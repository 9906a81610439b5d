"""The middleware that asks for the password: around every route of ComfyUI, its files and its websocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape

from aiohttp import web

from .. import comfyui, process_secret
from . import basic_auth, cross_site
from .authenticator import AUTHENTICATOR, Authenticator
from .password_file import NAME, Damaged

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SOCKETS = ("/ws", "/api/ws")


@web.middleware
async def ask_for_password(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through where the password is off, or where it comes with the right one."""
    authenticator = request.app[AUTHENTICATOR]
    account = authenticator.account
    if account is None or process_secret.accepts(request):
        return await handler(request)
    if isinstance(account, Damaged):
        return _refusal(request, 503, "SECURITY_FILE_DAMAGED", DAMAGED)
    if cross_site.is_foreign(request.method, request.path, request.headers, comfyui.allowed_origin()):
        return _refusal(request, 403, "OTHER_SITE", "This request came from another web site.")
    if _is_socket(request) and authenticator.holds_socket_token(_cookie(request)):
        return await handler(request)
    result = await authenticator.authenticate(request.headers.get("Authorization", ""), address(request))
    if result.wait:
        return too_many(request, result.wait)
    if not result.accepted:
        answer = _refusal(request, 401, "UNAUTHORIZED", UNAUTHORIZED)
        answer.headers["WWW-Authenticate"] = basic_auth.CHALLENGE
        return answer
    answered = await handler(request)
    if not answered.prepared:
        _add_headers(request, answered, authenticator)
    return answered


DAMAGED = (
    f"The file {NAME} in ComfyUI's folder is damaged, so nobody can be let in. On ComfyUI's machine, restore the file, "
    "or delete it: that switches password authentication off. ComfyUI's log says what is wrong with it."
)
UNAUTHORIZED = (
    "This ComfyUI asks for a username and a password (Runflow, password authentication). Whoever has forgotten them "
    f"deletes the file {NAME} in ComfyUI's folder."
)


def address(request: web.Request) -> str:
    """Where a guess comes from. Headers of proxies are not read: whoever guesses could write them."""
    return request.remote or ""


def too_many(request: web.Request, seconds: int) -> web.Response:
    """The answer to a guess that came too early."""
    answer = _refusal(request, 429, "TOO_MANY_GUESSES", f"Too many wrong passwords. Try again in {seconds} s.")
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _refusal(request: web.Request, status: int, code: str, message: str) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if "text/html" in request.headers.get("Accept", ""):
        page = f"<!doctype html><meta charset=utf-8><title>ComfyUI</title><p>{escape(message)}"
        return web.Response(text=page, status=status, content_type="text/html", headers=headers)
    return web.json_response({"code": code, "message": message, "errors": None}, status=status, headers=headers)


def _is_socket(request: web.Request) -> bool:
    return request.path in _SOCKETS and request.headers.get("Upgrade", "").lower() == "websocket"


def _add_headers(request: web.Request, answer: web.StreamResponse, authenticator: Authenticator) -> None:
    """No other site may frame the page, and Safari, which sends no password with websockets, gets a cookie for them."""
    answer.headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    if "Sec-Fetch-Mode" not in request.headers and "Mozilla" not in request.headers.get("User-Agent", ""):
        return  # a program
    if not authenticator.holds_socket_token(_cookie(request)):
        answer.set_cookie(
            _cookie_name(request),
            authenticator.socket_token,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )


def _cookie_name(request: web.Request) -> str:
    """Cookies are shared by all ports of a host, and two ComfyUIs may run on one."""
    sockname = request.transport.get_extra_info("sockname") if request.transport else None
    return f"runflow_socket_{sockname[1] if isinstance(sockname, tuple) else 0}"


def _cookie(request: web.Request) -> str:
    return request.cookies.get(_cookie_name(request), "")
