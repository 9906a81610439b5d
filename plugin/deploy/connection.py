"""The connection of Settings: the server's address, an ordinary setting of ComfyUI, and the key, which is not one.

Older plugins and scripts store the key as ComfyUI's setting Runflow.ApiKey, which every page can read. Such a key is
taken over into our own file, and out of the settings, before anybody can read it from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused, read_json
from .key_store import KeyStore
from .target import DEFAULT_URL, Target, choose_target

URL_SETTING = "Runflow.ApiUrl"
KEY_SETTING = "Runflow.ApiKey"
_SETTINGS = ("/settings", "/api/settings", f"/settings/{KEY_SETTING}", f"/api/settings/{KEY_SETTING}")
_MAX_KEY = 500


def keys() -> KeyStore:
    """The keys of this ComfyUI."""
    return KeyStore(comfyui.private_folder() / "keys.json")


def describe(request: web.Request) -> dict[str, Any]:
    """What the page may know: the address, and the end of the key that is stored (null: none)."""
    return {"api_url": _settings_url(request), "key_hint": keys().hint(comfyui.user_id(request))}


async def store_key(request: web.Request) -> dict[str, Any]:
    """Store the key in the body, `{"api_key": …}`, for the request's user.

    Raises:
        Refused: it is no key.
    """
    key = (await read_json(request)).get("api_key")
    if not isinstance(key, str) or not key.strip() or len(key) > _MAX_KEY:
        raise Refused("Paste an API key, such as rf_live_….", code="INVALID_KEY")
    keys().put(comfyui.user_id(request), key.strip())
    return describe(request)


def forget_key(request: web.Request) -> dict[str, Any]:
    """Forget the key of the request's user."""
    keys().forget(comfyui.user_id(request))
    return describe(request)


def known_keys(request: web.Request) -> set[str]:
    """The stored key of the request's user, which no workflow may take along; empty without one."""
    key = keys().get(comfyui.user_id(request))
    return {key} if key else set()


def target(request: web.Request, host: str, node_key: str) -> Target:
    """Where a deployment of the request's user goes. Raises Refused."""
    return choose_target(_settings_url(request), keys().get(comfyui.user_id(request)), host, node_key)


@web.middleware
async def keep_key_out_of_settings(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Take a key out of ComfyUI's settings before they are read and after they are written."""
    if request.path not in _SETTINGS:
        return await handler(request)
    _take_over(request)
    answer = await handler(request)
    if request.method == "POST":
        _take_over(request)
    return answer


def _take_over(request: web.Request) -> None:
    try:
        user, settings = comfyui.user_id(request), comfyui.user_settings(request)
    except (KeyError, web.HTTPException):
        return  # no such user: ComfyUI's own handler says so
    if KEY_SETTING not in settings:
        return
    key = settings.pop(KEY_SETTING)
    if isinstance(key, str) and key.strip():
        keys().put(user, key.strip()[:_MAX_KEY])
    else:
        keys().forget(user)
    comfyui.save_user_settings(request, settings)


def _settings_url(request: web.Request) -> str:
    url = comfyui.user_settings(request).get(URL_SETTING)
    return url.strip() if isinstance(url, str) and url.strip() else DEFAULT_URL
