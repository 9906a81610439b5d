"""The routes of Settings > Runflow: tell whether the password is on, switch it on, change it, switch it off; scan."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused, Routes, read_json
from . import basic_auth, middleware, scrypt
from .access import require_known_name
from .authenticator import AUTHENTICATOR, Authenticator
from .exposure import local_findings, outside_findings
from .password_file import NAME, Account

LEAST_CHARACTERS = 12
_MOST_CHARACTERS = 200
_MOST_USERNAME = 100

_changing = asyncio.Lock()
_scanning = asyncio.Lock()

ROUTES = Routes()


@ROUTES.on("GET", "/runflow/security")
async def describe(request: web.Request) -> dict[str, Any]:
    """What the page may know. Nothing of the password is in it, and nothing outside of the file knows it."""
    return _describe(request.app[AUTHENTICATOR])


@ROUTES.on("PUT", "/runflow/security/password")
async def store(request: web.Request) -> dict[str, Any]:
    """Switch the password on or change it: `{"username", "password", "current_password"}`, the last where it is on.

    Raises:
        Refused: a field is missing or wrong, the current password is, the file cannot be written, or the request came
            under a name that nobody here gave.
    """
    require_known_name(request)
    body = await read_json(request)
    username, password = _username(body.get("username")), _password(body.get("password"))
    if not scrypt.available():
        message = "This Python lacks hashlib.scrypt (it was built with LibreSSL). Run ComfyUI with another build."
        raise Refused(message, code="NO_SCRYPT", status=501)
    async with _changing:
        await _must_know_current(request, body)
        hashed = await asyncio.to_thread(scrypt.Hash.of, password)
        await _save(request.app[AUTHENTICATOR], Account(username, hashed))
    comfyui.LOG.warning(
        "Runflow: password authentication is on; its account was set from %s", middleware.address(request)
    )
    return _describe(request.app[AUTHENTICATOR])


@ROUTES.on("DELETE", "/runflow/security/password")
async def switch_off(request: web.Request) -> dict[str, Any]:
    """Switch the password off: `{"current_password"}`.

    Raises:
        Refused: the current password is wrong, the file cannot be removed, or the name is unknown here.
    """
    require_known_name(request)
    body = await read_json(request)
    async with _changing:
        await _must_know_current(request, body)
        await _save(request.app[AUTHENTICATOR], None)
    comfyui.LOG.warning("Runflow: password authentication was switched off from %s", middleware.address(request))
    return _describe(request.app[AUTHENTICATOR])


@ROUTES.on("POST", "/runflow/security/scans")
async def scan(request: web.Request) -> dict[str, Any]:
    """Scan. `{"ask_outside": false}` asks nobody; true tells the services, which the answer names, the public address.

    Raises:
        Refused: a scan is running, or the name is unknown here.
    """
    require_known_name(request)
    ask_outside = (await read_json(request)).get("ask_outside") is True
    authenticator = request.app[AUTHENTICATOR]
    if not ask_outside:
        return await local_findings(authenticator)
    if _scanning.locked():
        raise Refused("A scan is running. Wait for its end.", code="SCAN_RUNNING", status=409)
    async with _scanning:
        local, found = await asyncio.gather(local_findings(authenticator), outside_findings(authenticator))
    return {**local, "outside": found}


def _describe(authenticator: Authenticator) -> dict[str, Any]:
    account = authenticator.account
    return {
        "enabled": account is not None,
        "username": account.username if isinstance(account, Account) else "",
        "least_characters": LEAST_CHARACTERS,
        "file": NAME,
    }


async def _must_know_current(request: web.Request, body: dict[str, Any]) -> None:
    authenticator = request.app[AUTHENTICATOR]
    if authenticator.account is None:
        return
    current = body.get("current_password")
    if not isinstance(current, str) or not current:
        raise Refused("Type the current password.", code="CURRENT_PASSWORD_MISSING", status=403)
    result = await authenticator.verify_password(current, middleware.address(request))
    if result.wait:
        message = f"Too many wrong passwords. Try again in {result.wait} s."
        raise Refused(message, code="TOO_MANY_GUESSES", status=429)
    if not result.accepted:
        raise Refused("That is not the current password.", code="WRONG_PASSWORD", status=403)


async def _save(authenticator: Authenticator, account: Account | None) -> None:
    file = authenticator.file
    try:
        if account is None:
            await asyncio.to_thread(file.remove)
        else:
            await asyncio.to_thread(file.write, account)
    except OSError as error:
        message = (
            f"{file.path} cannot be changed: {error.strerror or error}. Nothing has changed. Let the user that runs "
            "ComfyUI write into that folder."
        )
        raise Refused(message, code="NOT_WRITABLE", status=409) from error
    authenticator.look()
    comfyui.close_sockets()


def _username(given: Any) -> str:
    """Raises Refused."""
    if not isinstance(given, str) or not given.strip():
        raise Refused("Fill in Username and Password first.", code="INVALID_USERNAME")
    username = basic_auth.normal(given.strip())
    if ":" in username or len(username) > _MOST_USERNAME or _has_control(username):
        message = f"A username has no colon and no control characters, and at most {_MOST_USERNAME} characters."
        raise Refused(message, code="INVALID_USERNAME")
    return username


def _password(given: Any) -> str:
    """Raises Refused."""
    if not isinstance(given, str) or not given:
        raise Refused("Fill in Username and Password first.", code="INVALID_PASSWORD")
    password = basic_auth.normal(given)
    if not LEAST_CHARACTERS <= len(password) <= _MOST_CHARACTERS or _has_control(password):
        message = f"Take a password of {LEAST_CHARACTERS} to {_MOST_CHARACTERS} characters without control characters."
        raise Refused(message, code="INVALID_PASSWORD")
    return password


def _has_control(text: str) -> bool:
    """Control characters, which no prompt can send, and halves of characters (lone surrogates)."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
