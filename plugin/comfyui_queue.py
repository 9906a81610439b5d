"""ComfyUI's own queue, reached from inside its process: no address, no password, no TLS stand between.

Prompts go through the very handlers that serve `POST /prompt`, `/queue` and `/interrupt`, so they are treated as those
of any page. Events come through an entry in the server's table of websockets; they are hints, the history is the truth.
"""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from .comfyui import LOG, server

OnEvent = Callable[[str, Mapping[str, Any]], None]
"""Called on the event loop with an event's type and data."""

OnPreview = Callable[[bytes, str], None]
"""Called on the event loop with a picture that the sampler shows of its work, and the picture's media type."""

_PREVIEW = 1
_PREVIEW_TYPES = {1: "image/jpeg", 2: "image/png"}


class PromptState(str, Enum):
    """Where a prompt is."""

    PENDING = "pending"
    RUNNING = "running"
    ABSENT = "absent"


class _Request:
    """What ComfyUI's handlers read of a request."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body
        self.headers: CIMultiDict[str] = CIMultiDict()

    async def json(self) -> dict[str, Any]:
        return self._body


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What we fail at must not disturb the server's other listeners."""
    try:
        yield
    except Exception:
        LOG.exception("Runflow: an event of ComfyUI was not understood")


class _EventSocket:
    """Takes the place of a page's websocket."""

    closed = False

    def __init__(self, on_event: OnEvent, on_preview: OnPreview) -> None:
        self._on_event = on_event
        self._on_preview = on_preview

    async def send_json(self, message: Mapping[str, Any], *_: Any, **__: Any) -> None:
        with _undisturbed():
            self._on_event(str(message.get("type")), message.get("data") or {})

    async def send_str(self, text: str, *_: Any, **__: Any) -> None:
        await self.send_json(json.loads(text))

    async def send_bytes(self, message: bytes | bytearray, *_: Any, **__: Any) -> None:
        """Take a preview: the event's number and the picture's type, four bytes each, then the picture."""
        with _undisturbed():
            event, kind = struct.unpack(">II", message[:8])
            if event == _PREVIEW and kind in _PREVIEW_TYPES:
                self._on_preview(bytes(message[8:]), _PREVIEW_TYPES[kind])

    async def close(self, *_: Any, **__: Any) -> None:
        """There is nothing to close."""


async def submit(
    prompt: dict[str, Any], prompt_id: str, client_id: str, extra_data: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Put a prompt into the queue. ComfyUI keeps and changes it. Returns status and body as `POST /prompt` does."""
    body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, "extra_data": extra_data}
    return await _ask("/prompt", body)


async def stop(prompt_id: str) -> None:
    """Take exactly this prompt out of the queue, or interrupt it when it is the one that runs."""
    state = find(prompt_id)
    if state is PromptState.PENDING:
        await _ask("/queue", {"delete": [prompt_id]})
    elif state is PromptState.RUNNING:
        await _ask("/interrupt", {"prompt_id": prompt_id})


def find(prompt_id: str) -> PromptState:
    """Where the prompt is in the queue."""
    queue = server().prompt_queue
    read = getattr(queue, "get_current_queue_volatile", None) or queue.get_current_queue
    running, pending = read()
    if any(item[1] == prompt_id for item in running):
        return PromptState.RUNNING
    return PromptState.PENDING if any(item[1] == prompt_id for item in pending) else PromptState.ABSENT


def history(prompt_id: str) -> Mapping[str, Any] | None:
    """The history entry of a prompt that has ended; None before that."""
    entry: Mapping[str, Any] | None = server().prompt_queue.get_history(prompt_id=prompt_id).get(prompt_id)
    return entry


def executing_classes() -> set[str]:
    """The class of the node that executes; those of its prompt where that cannot be told. Takes no lock."""
    running = server()
    items = [] if running is None else list(running.prompt_queue.currently_running.values())
    context = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", lambda: None)()
    nodes = (getattr(context, "node_id", None), getattr(running, "last_node_id", None))
    prompts = [item[2] for item in items]
    named = {prompt[node]["class_type"] for prompt in prompts for node in nodes if node in prompt}
    return named or {node["class_type"] for prompt in prompts for node in prompt.values()}


def succeeded_prompts() -> Iterator[Mapping[str, Any]]:
    """The prompts of the history that ended well, the newest first: each node of theirs that counts has executed."""
    running = server()
    for entry in reversed([] if running is None else list(running.prompt_queue.history.values())):
        status = entry.get("status")
        if isinstance(status, Mapping) and status.get("status_str") == "success":
            yield entry["prompt"][2]


def listen(client_id: str, on_event: OnEvent, on_preview: OnPreview) -> None:
    """Hear the events of all prompts that are submitted under `client_id`, for as long as the process lives."""
    server().sockets[client_id] = _EventSocket(on_event, on_preview)


async def _ask(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    # ComfyUI's handlers are taken for any callable: what they read of a request is what `_Request` has.
    handler: Any = next(
        route.handler
        for route in server().routes
        if isinstance(route, web.RouteDef) and (route.method, route.path) == ("POST", path)
    )
    answer = await handler(_Request(body))
    text = getattr(answer, "text", None)
    return int(answer.status), json.loads(text) if text else {}
