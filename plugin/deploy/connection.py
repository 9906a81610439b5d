"""The connection of Settings: the server's address, an ordinary setting of ComfyUI, and the key, which is not one.

The key is bound to the server that it was saved for: the address is a setting that every page, and every custom node,
may change. Older plugins and scripts store the key as ComfyUI's setting Runflow.ApiKey, which every page can read. Such
a key is taken over into our own file, and out of the settings, before anybody can read it from there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused
from ..private_file import write_private
from ..security.access import has_access
from .check import Checked, check_address, check_key
from .local_server import find_local
from .target import HOSTED_URL, StoredKey, Target, base_url, choose_target, origin_of

URL_SETTING = "Runflow.ApiUrl"
KEY_SETTING = "Runflow.ApiKey"
_SETTINGS = ("/settings", "/api/settings")
_FIELDS = ("key", "origin")
MAX_KEY = 500
"""Longest key, in characters."""
_HINT_LENGTH = 4
_LONG_ENOUGH_FOR_HINT = 12


class KeyStore:
    """Keys by user id, each with its server's origin, in one file of mode 0600 that no page can read."""

    def __init__(self, file: Path) -> None:
        """Keep them in `file`, which need not be there."""
        self._file = file

    def get(self, user: str) -> StoredKey | None:
        """The key of a user, or None. The origin is empty where an older plugin stored the key: see `bind`."""
        stored = self._read().get(user)
        if isinstance(stored, str):
            return StoredKey(stored, "")
        if not isinstance(stored, dict) or not all(isinstance(stored.get(field), str) for field in _FIELDS):
            return None
        return StoredKey(stored["key"], stored["origin"])

    def put(self, user: str, stored: StoredKey) -> None:
        """Store a key instead of the one before. Raises OSError."""
        self._write({**self._read(), user: {"key": stored.key, "origin": stored.origin}})

    def bind(self, user: str, origin: str) -> None:
        """Bind a key that an older plugin stored, for no server, to this one; another key keeps its own."""
        stored = self.get(user)
        if stored is not None and not stored.origin:
            self.put(user, StoredKey(stored.key, origin))

    def forget(self, user: str) -> None:
        """Remove a user's key; nothing happens where there is none. Raises OSError."""
        keys = self._read()
        if keys.pop(user, None) is not None:
            self._write(keys)

    def _read(self) -> dict[str, Any]:
        try:
            keys = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return keys if isinstance(keys, dict) else {}

    def _write(self, keys: dict[str, Any]) -> None:
        write_private(self._file, json.dumps(keys).encode())


def keys() -> KeyStore:
    """The keys of this ComfyUI."""
    return KeyStore(comfyui.private_folder() / "keys.json")


async def describe(request: web.Request) -> dict[str, Any]:
    """What the page may know: the address (empty: none is set), what can stand there, the end of the key that is stored
    (null: none) and its server.
    """
    stored = _stored(request)
    return {
        "api_url": _settings_url(request),
        "local_url": await find_local(),
        "hosted_url": HOSTED_URL,
        "key_hint": _hint(stored.key) if stored else None,
        "key_origin": stored.origin if stored else None,
    }


def store(request: web.Request, key: str, url: str | None = None) -> None:
    """Store the key of the request's user for the server at `url`, else for that of Settings.

    Raises:
        Refused: there is no usable address, so that the key would belong to nothing.
    """
    origin = origin_of(base_url(url or _chosen_url(request), "API URL"))
    keys().put(comfyui.user_id(request), StoredKey(key, origin))


def known_keys(request: web.Request) -> set[str]:
    """The stored key of the request's user, which no workflow may take along; empty without one."""
    stored = _stored(request)
    return {stored.key} if stored else set()


async def target(request: web.Request, host: str, node_key: str) -> Target:
    """Where a deployment of the request's user goes: to this machine's server where none is named. Raises Refused."""
    url = _chosen_url(request) or ("" if host.strip() else await find_local())
    return choose_target(url, _stored(request), host, node_key)


async def check(request: web.Request, url: str) -> Checked:
    """Ask the server at `url` about the stored key; where that is for another one, whether Runflow is there at all.

    Raises:
        Refused: it is no usable address.
    """
    base, stored = base_url(url, "API URL"), _stored(request)
    if stored is None or stored.origin != origin_of(base):
        return await check_address(base)
    return await check_key(choose_target(base, stored))


@web.middleware
async def keep_key_out_of_settings(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Take a key out of ComfyUI's settings before they are read and after they are written.

    What a request writes that may not change the key is dropped. A key of an older plugin is bound to the address of
    Settings before that can change.
    """
    if not request.path.startswith(_SETTINGS):
        return await handler(request)
    try:
        _take_over(request, keep=True)
    except (KeyError, web.HTTPException):
        return await handler(request)  # no such user: ComfyUI's own handler says so
    answer = await handler(request)
    if request.method == "POST":
        _take_over(request, keep=has_access(request))
    return answer


def _take_over(request: web.Request, *, keep: bool) -> None:
    user, settings, stored = comfyui.user_id(request), comfyui.user_settings(request), keys()
    stored.bind(user, _settings_origin(request))
    if KEY_SETTING not in settings:
        return
    key = settings.pop(KEY_SETTING)
    if keep and isinstance(key, str) and key.strip():
        stored.put(user, StoredKey(key.strip()[:MAX_KEY], _settings_origin(request)))
    elif keep:
        stored.forget(user)
    comfyui.save_user_settings(request, settings)


def _stored(request: web.Request) -> StoredKey | None:
    user, stored = comfyui.user_id(request), keys()
    stored.bind(user, _settings_origin(request))
    return stored.get(user)


def _hint(key: str) -> str:
    """The last four characters of a key, by which a person knows it again; none of a short one."""
    return key[-_HINT_LENGTH:] if len(key) >= _LONG_ENOUGH_FOR_HINT else ""


def _settings_origin(request: web.Request) -> str:
    """The origin of the address in Settings; of the hosted one, the default of older plugins, where that is none."""
    try:
        return origin_of(base_url(_settings_url(request), URL_SETTING))
    except Refused:
        return origin_of(HOSTED_URL)


def _chosen_url(request: web.Request) -> str:
    """The address in Settings, else of the server that the stored key is for; empty without either."""
    stored = _stored(request)
    return _settings_url(request) or (stored.origin if stored else "")


def _settings_url(request: web.Request) -> str:
    url = comfyui.user_settings(request).get(URL_SETTING)
    return url.strip() if isinstance(url, str) else ""
