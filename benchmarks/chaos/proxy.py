"""A network that fails on request: a TCP proxy that passes bytes on, resets connections, or goes silent."""

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Literal

Mood = Literal["passing", "resetting", "silent"]

_BLOCK = 65536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: the system tells the other side by a TCP reset."""


class Proxy:
    """Leads connections to one port of this machine. `set` may be called from any thread."""

    def __init__(self, target: int) -> None:
        """Remember where it leads; `start` listens."""
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._mood: Mood = "passing"
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="chaos-proxy")

    @property
    def url(self) -> str:
        """Address of the server as it is reached through here."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def set(self, mood: Mood) -> None:
        """Pass on, reset what is open and whatever comes, or hold all bytes back until the mood changes."""
        asyncio.run_coroutine_threadsafe(self._set(mood), self._loop).result()

    def close(self) -> None:
        """Drop all connections and listen no more."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, mood: Mood) -> None:
        self._mood = mood
        if mood == "silent":
            self._passing.clear()
        else:
            self._passing.set()
        if mood == "resetting":
            for writer in list(self._open):
                _reset(writer)

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mood == "resetting":
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            await self._passing.wait()
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(inner_writer)
            self._open.update(writers)
            await asyncio.gather(self._pass(reader, inner_writer), self._pass(inner_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for one in writers:
                self._open.discard(one)
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(_BLOCK):
            await self._passing.wait()
            writer.write(block)
            await writer.drain()
        await self._passing.wait()
        if writer.can_write_eof():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
