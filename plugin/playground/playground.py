"""The Local Playground of this process: from requests to captures, runs and events."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused, read_json
from .captures import Captures, slug_of
from .feed import Feed
from .runs import Runs

RECAPTURE_EVENT = "runflow.playground.recapture"
"""Asks the editor that shows a workflow to capture it again."""

_CAPTURE = "capture"


class Playground:
    """Captures, runs, and who follows them."""

    def __init__(self) -> None:
        self.captures = Captures(comfyui.private_folder() / "playground")
        self.feed = Feed()
        self.runs = Runs(self.captures.folder, self.feed.publish)
        self.editors: dict[str, str] = {}


@functools.cache
def _playground() -> Playground:
    return Playground()


async def capture(request: web.Request) -> dict[str, Any]:
    """Keep `{endpoint_name, prompt, graph, fingerprint, client_id}`. Returns the capture's slug. Raises Refused."""
    body = await read_json(request)
    ours = _playground()
    name, fingerprint = _text(body, "endpoint_name"), _text(body, "fingerprint")
    kept = await asyncio.to_thread(ours.captures.save, name, body.get("prompt"), body.get("graph"), fingerprint)
    ours.editors[kept.slug] = _text(body, "client_id")
    ours.feed.publish(kept.slug, _CAPTURE)
    return {"slug": kept.slug, "captured_at": kept.captured_at}


async def shown(request: web.Request) -> dict[str, Any]:
    """Note what an editor shows, `{endpoint_name, fingerprint, client_id}`. Returns whether it was captured before."""
    body = await read_json(request)
    ours = _playground()
    try:
        slug = slug_of(_text(body, "endpoint_name"))
    except Refused:
        return {"captured": False}
    if not ours.captures.has(slug):
        return {"captured": False}
    ours.captures.shown(slug, _text(body, "fingerprint"))
    ours.editors[slug] = _text(body, "client_id")
    ours.feed.publish(slug, _CAPTURE)
    return {"captured": True}


async def recapture(request: web.Request) -> dict[str, Any]:
    """Ask the editor that showed the workflow last to capture it again. Returns whether one has shown it.

    Whether it could shows in the capture's time.
    """
    await read_json(request)
    slug = request.match_info["slug"]
    editor = _playground().editors.get(slug)
    if editor:
        comfyui.send(RECAPTURE_EVENT, {"slug": slug}, editor)
    return {"asked": bool(editor)}


async def describe(request: web.Request) -> dict[str, Any]:
    """The capture of the slug in the address: interface, age, warnings. Raises Refused."""
    return await _describe(request.match_info["slug"])


async def workflow(request: web.Request) -> web.StreamResponse:
    """The captured workflow as a file that the editor opens. Raises Refused."""
    kept = await asyncio.to_thread(_playground().captures.load, request.match_info["slug"])
    headers = {"Content-Disposition": f'attachment; filename="{kept.slug}.json"'}
    return web.Response(text=json.dumps(kept.graph), content_type="application/json", headers=headers)


async def events(request: web.Request) -> web.StreamResponse:
    """The events `capture` and `run` of the slug in the address, everything first. Raises Refused."""
    ours, slug = _playground(), request.match_info["slug"]
    await _describe(slug)
    await ours.runs.open(slug)

    async def tell(subject: str) -> tuple[str, Any] | None:
        if subject != _CAPTURE:
            record = ours.runs.find(subject)
            return ("run", record) if record else None
        return _CAPTURE, await _describe(slug)

    subjects = [_CAPTURE, *(record["id"] for record in ours.runs.list(slug))]
    return await ours.feed.stream(request, slug, subjects, tell)


async def start(request: web.Request) -> dict[str, Any]:
    """Run the capture of the slug in the address with the values `{input}`. Returns the run. Raises Refused."""
    body = await read_json(request)
    ours = _playground()
    kept = await asyncio.to_thread(ours.captures.load, request.match_info["slug"])
    return await ours.runs.start(kept, body.get("input"))


async def runs(request: web.Request) -> dict[str, Any]:
    """The runs of the slug in the address, oldest first. Raises Refused."""
    ours, slug = _playground(), request.match_info["slug"]
    await _describe(slug)
    await ours.runs.open(slug)
    return {"items": ours.runs.list(slug)}


async def cancel(request: web.Request) -> dict[str, Any]:
    """Stop the run in the address. Raises Refused."""
    await read_json(request)
    return _playground().runs.cancel(request.match_info["id"])


async def _describe(slug: str) -> dict[str, Any]:
    ours = _playground()
    kept = await asyncio.to_thread(ours.captures.load, slug)
    return kept.describe(stale=ours.captures.is_stale(kept))


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
