"""The engine's websocket: one for every prompt in flight, opened again whenever it is lost.

Each connection has a client id of its own. With the same id again, the late end of the old connection would unregister
the new one inside ComfyUI, which then hears nothing (seen in 0.3.64 and 0.33.0).
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import orjson
import structlog

from runflow.worker.engine.previews import FEATURES, Preview, read_preview
from runflow.worker.engine.protocol import ComfyClient, holds_too_much

log = structlog.get_logger(__name__)

_PING_SECONDS = 15.0
_LONGEST_WAIT = 2.0
_MESSAGE_BYTES = 16 * 1024 * 1024
"""The longest message: a node can make its engine say anything, and history is the truth."""
_TEXT_CHARACTERS = 4 * 1024 * 1024
"""The longest one that is read; of a thousand nodes it is told in less."""
_MOST_COMPLAINTS = 5
"""Of one engine's messages in the log: it may send any number that nobody understands."""
_MOST_CHARACTERS = 100
_FEATURES = orjson.dumps(FEATURES).decode()


class EventSocket:
    """Listens, and hands every JSON message to `on_message(type, data, size)`, every picture to `on_preview`.

    Says `on_garbled()` where one cannot be read, and `on_lost(client_id)` when the connection ends.
    """

    def __init__(
        self,
        client: ComfyClient,
        on_message: Callable[[str, Mapping[str, Any], int], None],
        on_garbled: Callable[[], None],
        on_lost: Callable[[str], None],
        on_preview: Callable[[Preview], None],
    ) -> None:
        self._client = client
        self._on_message = on_message
        self._on_garbled = on_garbled
        self._on_lost = on_lost
        self._on_preview = on_preview
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self.client_id: str | None = None
        self._misunderstood = 0

    async def open(self) -> None:
        """Start listening, and keep at it until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen_forever(), name="engine-websocket")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def ready(self, timeout: float) -> str | None:
        """Return the client id to submit prompts with, or None when there is no connection within `timeout` seconds."""
        if self.client_id is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._connected.wait()
        return self.client_id

    async def _listen_forever(self) -> None:
        wait = 0.05
        while True:
            client_id = uuid.uuid4().hex
            try:
                async with self._client.session().ws_connect(
                    f"{self._client.url}/ws?clientId={client_id}",
                    heartbeat=_PING_SECONDS,
                    max_msg_size=_MESSAGE_BYTES,
                    compress=0,
                ) as socket:
                    await socket.send_str(_FEATURES)
                    self.client_id = client_id
                    self._connected.set()
                    wait = 0.05
                    await self._listen(socket)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.debug("engine websocket lost", url=self._client.url, reason=str(error))
            finally:
                if self.client_id == client_id:
                    self.client_id = None
                    self._connected.clear()
                    self._on_lost(client_id)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY and (preview := read_preview(message.data)) is not None:
                self._on_preview(preview)
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            if len(message.data) > _TEXT_CHARACTERS or holds_too_much(message.data):
                self._on_garbled()
                continue
            try:
                parsed = orjson.loads(message.data)
                kind, data = parsed["type"], parsed.get("data")
            except (orjson.JSONDecodeError, TypeError, KeyError):
                self._on_garbled()
                continue
            if isinstance(data, dict):
                try:
                    self._on_message(kind, data, len(message.data))
                except Exception:
                    self._misunderstood += 1
                    if self._misunderstood <= _MOST_COMPLAINTS:
                        log.exception("an engine message was not understood", kind=str(kind)[:_MOST_CHARACTERS])
