"""Server-Sent Events of one playground: everything once at the start, then what changed, at most a few times a second.

A page that reconnects gets everything again, so nothing has to be kept for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

_PAUSE_SECONDS = 0.15
_QUIET_SECONDS = 15.0

Tell = Callable[[str], Awaitable["tuple[str, Any] | None"]]
"""From a subject to the event's type and data, as they are now; None when it is gone."""


class Feed:
    """Who follows which slug, and what each has not been told yet."""

    def __init__(self) -> None:
        self._followers: dict[str, list[tuple[dict[str, None], asyncio.Event]]] = {}

    def publish(self, slug: str, subject: str) -> None:
        """Say that a subject of that slug has changed. On the event loop only."""
        for untold, wake in self._followers.get(slug, ()):
            untold[subject] = None
            wake.set()

    async def stream(self, request: web.Request, slug: str, subjects: list[str], tell: Tell) -> web.StreamResponse:
        """Answer with the state of `subjects`, an event `ready`, and then every change, until the page goes away."""
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        follower = (dict.fromkeys(subjects), asyncio.Event())
        followers = self._followers.setdefault(slug, [])
        followers.append(follower)
        untold, wake = follower
        try:
            await response.prepare(request)
            await self._send(response, untold, tell)
            await response.write(b"event: ready\ndata: null\n\n")
            while True:
                try:
                    await asyncio.wait_for(wake.wait(), _QUIET_SECONDS)
                except asyncio.TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                wake.clear()
                await self._send(response, untold, tell)
                await asyncio.sleep(_PAUSE_SECONDS)
        except ConnectionError:
            return response
        finally:
            followers.remove(follower)
            if not followers:
                self._followers.pop(slug, None)

    async def _send(self, response: web.StreamResponse, untold: dict[str, None], tell: Tell) -> None:
        subjects = list(untold)
        untold.clear()
        for subject in subjects:
            told = await tell(subject)
            if told is not None:
                kind, data = told
                await response.write(f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode())
