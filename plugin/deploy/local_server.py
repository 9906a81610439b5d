"""Finding the Runflow server of this machine, for a person who has named none.

`runflow up` writes its address into its home folder, so that one at another port than the usual one is found too. What
stands there may be of a process that was killed: an address counts when Runflow answers at it.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import aiohttp

from ..answers import Refused
from .target import base_url

USUAL_URL = "http://127.0.0.1:8700"
"""Where `runflow up` listens unless it is told otherwise."""

URL_VARIABLE = "RUNFLOW_URL"
"""In ComfyUI's environment: the only address to look at, for a server beside a container, say."""

_HOME_VARIABLE = "RUNFLOW_HOME"
_ADDRESS_FILE = "server.url"
_TIMEOUT = aiohttp.ClientTimeout(total=1)
_LONGEST_ANSWER = 10_000
_LONGEST_ADDRESS = 500


async def find_local() -> str:
    """The address of the server of this machine; empty where none answers within a second."""
    # Whatever proxy the environment names has no business between two programs of one machine.
    async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session:
        for url in candidates():
            if await _answers(session, url):
                return url
    return ""


def candidates() -> list[str]:
    """The addresses to look at, the most likely one first: that of the environment, else of the home, and the usual."""
    named = os.environ.get(URL_VARIABLE, "").strip()
    found = [named] if named else [_of_home(), USUAL_URL]
    return [url for url in dict.fromkeys(map(_usable, found)) if url]


def is_runflow(content: bytes) -> bool:
    """Whether this is how Runflow answers to `GET /v1/health`."""
    try:
        told = json.loads(content)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("status") == "ok" and told.get("ok") is True and "version" in told


def _usable(url: str) -> str:
    try:
        return base_url(url, URL_VARIABLE)
    except Refused:
        return ""


def _of_home() -> str:
    home = os.environ.get(_HOME_VARIABLE, "").strip()
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    folder = Path(home).expanduser() if home else Path("/var/lib/runflow") if is_root else Path.home() / ".runflow"
    try:
        with (folder / _ADDRESS_FILE).open(encoding="utf-8") as file:
            return file.read(_LONGEST_ADDRESS).strip()
    except (OSError, ValueError):
        return ""


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/v1/health", allow_redirects=False) as answer:
            return answer.status == 200 and is_runflow(await answer.content.read(_LONGEST_ANSWER))
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
        return False
