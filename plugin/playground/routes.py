"""The routes of the Local Playground: its captures, runs and events, its page, and files for its inputs."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused, Routes, read_json
from . import pages, uploads
from .captures import Captures, slug_of
from .feed import Feed
from .runs import Runs

RECAPTURE_EVENT = "runflow.playground.recapture"
"""Asks the editor that shows a workflow to capture it again."""

_CAPTURE = "capture"
_PREVIEWS = "Comfy.Execution.PreviewMethod"

ROUTES = Routes()


class Playground:
    """One user's captures, runs, and who follows them."""

    def __init__(self, user: str) -> None:
        folder = comfyui.private_folder() / "playground"
        self.captures = Captures(folder if user == "default" else folder / "users" / user)
        self.feed = Feed()
        self.runs = Runs(self.captures.folder, self.feed.publish)
        self.editors: dict[str, str] = {}


@functools.cache
def _playground(user: str) -> Playground:
    return Playground(user)


def _of(request: web.Request) -> Playground:
    """The playground of the request's user; there is one user unless ComfyUI runs with --multi-user. Raises Refused."""
    try:
        return _playground(comfyui.user_id(comfyui.asked_by(request)))
    except KeyError:
        message = "ComfyUI does not know which of its users you are. Open the editor, choose one, and come back."
        raise Refused(message, code="USER_UNKNOWN", status=403) from None


@ROUTES.on("POST", "/runflow/playground/captures")
async def capture(request: web.Request) -> dict[str, Any]:
    """Keep `{endpoint_name, prompt, graph, fingerprint, client_id}`. Returns the capture's slug. Raises Refused."""
    body = await read_json(request)
    ours = _of(request)
    name, fingerprint = _text(body, "endpoint_name"), _text(body, "fingerprint")
    kept = await asyncio.to_thread(ours.captures.save, name, body.get("prompt"), body.get("graph"), fingerprint)
    ours.editors[kept.slug] = _text(body, "client_id")
    ours.feed.publish(kept.slug, _CAPTURE)
    return {"slug": kept.slug, "captured_at": kept.captured_at}


@ROUTES.on("POST", "/runflow/playground/shown")
async def shown(request: web.Request) -> dict[str, Any]:
    """Note what an editor shows, `{endpoint_name, fingerprint, client_id}`. Returns whether it was captured before."""
    body = await read_json(request)
    ours = _of(request)
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


@ROUTES.on("POST", "/runflow/playground/captures/{slug}/recaptures")
async def recapture(request: web.Request) -> dict[str, Any]:
    """Ask the editor that showed the workflow last to capture it again. Returns whether one has shown it.

    Whether it could shows in the capture's time.
    """
    await read_json(request)
    slug = request.match_info["slug"]
    editor = _of(request).editors.get(slug)
    if editor:
        comfyui.send(RECAPTURE_EVENT, {"slug": slug}, editor)
    return {"asked": bool(editor)}


@ROUTES.on("GET", "/runflow/playground/captures/{slug}")
async def describe(request: web.Request) -> dict[str, Any]:
    """The capture of the slug in the address: interface, age, warnings. Raises Refused."""
    return await _describe(_of(request), request.match_info["slug"])


@ROUTES.on("GET", "/runflow/playground/captures/{slug}/workflow")
async def workflow(request: web.Request) -> web.StreamResponse:
    """The captured workflow as a file that the editor opens. Raises Refused."""
    kept = await asyncio.to_thread(_of(request).captures.load, request.match_info["slug"])
    headers = {"Content-Disposition": f'attachment; filename="{kept.slug}.json"'}
    return web.Response(text=json.dumps(kept.graph), content_type="application/json", headers=headers)


@ROUTES.on("GET", "/runflow/playground/captures/{slug}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """The events `capture` and `run` of the slug in the address, everything first. Raises Refused."""
    ours, slug = _of(request), request.match_info["slug"]
    await _describe(ours, slug)
    await ours.runs.open(slug)

    async def tell(subject: str) -> tuple[str, Any] | None:
        if subject != _CAPTURE:
            record = ours.runs.find(subject)
            return ("run", record) if record else None
        return _CAPTURE, await _describe(ours, slug)

    subjects = [_CAPTURE, *(record["id"] for record in ours.runs.list(slug))]
    return await ours.feed.stream(request, slug, subjects, tell)


@ROUTES.on("POST", "/runflow/playground/captures/{slug}/runs")
async def start(request: web.Request) -> dict[str, Any]:
    """Run the capture of the slug in the address with the values `{input}`. Returns the run. Raises Refused."""
    body = await read_json(request)
    ours = _of(request)
    kept = await asyncio.to_thread(ours.captures.load, request.match_info["slug"])
    return await ours.runs.start(kept, body.get("input"), _extra_data(request))


@ROUTES.on("GET", "/runflow/playground/captures/{slug}/runs")
async def runs(request: web.Request) -> dict[str, Any]:
    """The runs of the slug in the address, oldest first. Raises Refused."""
    ours, slug = _of(request), request.match_info["slug"]
    await _describe(ours, slug)
    await ours.runs.open(slug)
    return {"items": ours.runs.list(slug)}


@ROUTES.on("POST", "/runflow/playground/runs/{id}/cancellation")
async def cancel(request: web.Request) -> dict[str, Any]:
    """Stop the run in the address. Raises Refused."""
    await read_json(request)
    return _of(request).runs.cancel(request.match_info["id"])


@ROUTES.on("GET", "/runflow/playground/runs/{id}/preview")
async def preview(request: web.Request) -> web.StreamResponse:
    """What the sampler shows of the run in the address; nothing when it has ended. Raises Refused."""
    shown = _of(request).runs.preview(request.match_info["id"])
    if shown is None:
        return web.Response(status=204)
    picture, media_type = shown
    return web.Response(body=picture, content_type=media_type, headers={"Cache-Control": "no-store"})


@ROUTES.on("GET", "/runflow/playground/{slug}")
async def page(_request: web.Request) -> web.StreamResponse:
    """The playground's page."""
    return pages.page()


@ROUTES.on("GET", "/runflow/playground/static/{name:.+}")
async def static(request: web.Request) -> web.StreamResponse:
    """A file of the playground's page. Raises Refused."""
    return pages.static(request.match_info["name"])


@ROUTES.on("POST", "/runflow/upload-input-file")
async def upload_input_file(request: web.Request) -> dict[str, Any]:
    """Put a file of any type into ComfyUI's input folder. Raises Refused."""
    return await uploads.receive(request)


async def _describe(ours: Playground, slug: str) -> dict[str, Any]:
    kept = await asyncio.to_thread(ours.captures.load, slug)
    return kept.describe(stale=ours.captures.is_stale(kept))


def _extra_data(request: web.Request) -> dict[str, Any]:
    """What the editor sends with a prompt too: which previews the person chose in ComfyUI's settings."""
    method = comfyui.user_settings(comfyui.asked_by(request)).get(_PREVIEWS)
    return {"preview_method": method} if isinstance(method, str) else {}


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
