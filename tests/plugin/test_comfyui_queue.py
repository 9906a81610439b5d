"""What stands in the place of a page's websocket hears and sees, and never fails its server."""

import struct
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from plugin import comfyui_queue


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The websockets that ComfyUI sends to."""
    sockets: dict[str, Any] = {}
    monkeypatch.setattr(comfyui_queue, "server", lambda: SimpleNamespace(sockets=sockets))
    return sockets


async def test_events_and_previews_are_taken(sockets: dict[str, Any]) -> None:
    taken: list[Any] = []

    def hear(kind: str, data: Mapping[str, Any]) -> None:
        taken.append((kind, data))

    comfyui_queue.listen("me", hear, lambda picture, kind: taken.append((picture, kind)))
    await sockets["me"].send_str('{"type": "progress", "data": {"value": 1}}')
    await sockets["me"].send_bytes(bytearray(struct.pack(">II", 1, 1) + b"jpeg"))
    await sockets["me"].send_bytes(struct.pack(">II", 1, 2) + b"png")
    await sockets["me"].send_bytes(struct.pack(">II", 3, 1) + b"a node's text")
    assert taken == [("progress", {"value": 1}), (b"jpeg", "image/jpeg"), (b"png", "image/png")]


async def test_a_fault_of_ours_stays_with_us(sockets: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("ours")

    comfyui_queue.listen("me", fail, fail)
    await sockets["me"].send_json({"type": "progress", "data": {}})
    await sockets["me"].send_bytes(struct.pack(">II", 1, 1) + b"jpeg")
    await sockets["me"].send_bytes(b"odd")
    assert caplog.text.count("an event of ComfyUI was not understood") == 3
