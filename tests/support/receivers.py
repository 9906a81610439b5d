"""Real receivers on 127.0.0.1 that answer, hang, reset, drip, redirect or never stop talking."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Received, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """What a test asks a receiver about."""

    behave: Behaviour
    reads: bool = True
    port: int = 0
    scheme: str = "http"
    requests: list[Received] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    bytes_sent: int = 0

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            received = await read_request(reader) if self.reads else Received("", "", {}, b"")
            self.requests.append(received)
            await self.behave(received, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


@contextlib.asynccontextmanager
async def receiver(
    behave: Behaviour, tls: ssl.SSLContext | None = None, *, reads: bool = True
) -> AsyncIterator[Receiver]:
    """Serve on a free port. With `reads` false the behaviour begins before the request."""
    made = Receiver(behave, reads=reads, scheme="https" if tls else "http")
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
    ended = False

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if ended:  # it was on its way when the receiver closed
            writer.transport.abort()
            return
        task = asyncio.ensure_future(made._serve(reader, writer))
        serving[task] = writer
        task.add_done_callback(serving.pop)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        ended = True
        server.close()
        left = dict(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for writer in left.values():
            writer.transport.abort()  # a task that was cancelled before its first step closed nothing


def answering(status: int = 200, body: bytes = b"ok", **headers: str) -> Behaviour:
    """Answer properly. `_` in a header's name stands for `-`."""

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return behave


async def hanging(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept everything, answer nothing, until the other side leaves."""
    await reader.read(1)


async def resetting(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection with a TCP reset."""
    writer.transport.abort()


async def taking_nothing(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep the connection open without reading."""
    await asyncio.sleep(60)


async def talking_nonsense(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await reader.read()


def dripping(head: bytes, seconds: float = 0.02) -> Behaviour:
    """Send `head` at once, then one byte at a time for ever."""

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(seconds)
        while not writer.is_closing():  # asked right before the write: uvloop's raises what is no ConnectionError
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(seconds)

    return behave


def endless(receiver_of: list[Receiver], head: bytes) -> Behaviour:
    """Send `head`, then as much as is taken, at most a gigabyte; counts what left in `receiver_of[0].bytes_sent`."""

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        chunk = b"x" * 65536
        for _ in range(16384):
            writer.write(chunk)
            await writer.drain()
            receiver_of[0].bytes_sent += len(chunk)

    return behave
