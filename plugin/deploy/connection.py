"""The connection of Settings: the server's address, an ordinary setting of ComfyUI, and the key, which is not one.

Older plugins and scripts store the key as ComfyUI's setting Runflow.ApiKey, which every page can read. Such a key is
taken over into our own file, and out of the settings, before anybody can read it from there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from .. import comfyui
from ..private_file import write_private
from .target import DEFAULT_URL, Target, choose_target

URL_SETTING = "Runflow.ApiUrl"
KEY_SETTING = "Runflow.ApiKey"
_SETTINGS = ("/settings", "/api/settings", f"/settings/{KEY_SETTING}", f"/api/settings/{KEY_SETTING}")
MAX_KEY = 500
"""Longest key, in characters."""
_HINT_LENGTH = 4
_LONG_ENOUGH_FOR_HINT = 12


class KeyStore:
    """Keys by user id, in one file of mode 0600 that no page can read."""

    def __init__(self, file: Path) -> None:
        """Keep them in `file`, which need not be there."""
        self._file = file

    def get(self, user: str) -> str | None:
        """The key of a user, or None."""
        return self._read().get(user)

    def put(self, user: str, key: str) -> None:
        """Store a key instead of the one before. Raises OSError."""
        self._write({**self._read(), user: key})

    def forget(self, user: str) -> None:
        """Remove a user's key; nothing happens where there is none. Raises OSError."""
        keys = self._read()
        if keys.pop(user, None) is not None:
            self._write(keys)

    def hint(self, user: str) -> str | None:
        """The last four characters of a user's key, by which a person knows it again; None without a key."""
        key = self.get(user)
        if key is None:
            return None
        return key[-_HINT_LENGTH:] if len(key) >= _LONG_ENOUGH_FOR_HINT else ""

    def _read(self) -> dict[str, str]:
        try:
            keys = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(keys, dict):
            return {}
        return {user: key for user, key in keys.items() if isinstance(key, str)}

    def _write(self, keys: dict[str, str]) -> None:
        write_private(self._file, json.dumps(keys).encode())


def keys() -> KeyStore:
    """The keys of this ComfyUI."""
    return KeyStore(comfyui.private_folder() / "keys.json")


def describe(request: web.Request) -> dict[str, Any]:
    """What the page may know: the address, and the end of the key that is stored (null: none)."""
    return {"api_url": _settings_url(request), "key_hint": keys().hint(comfyui.user_id(request))}


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
        keys().put(user, key.strip()[:MAX_KEY])
    else:
        keys().forget(user)
    comfyui.save_user_settings(request, settings)


def _settings_url(request: web.Request) -> str:
    url = comfyui.user_settings(request).get(URL_SETTING)
    return url.strip() if isinstance(url, str) and url.strip() else DEFAULT_URL
