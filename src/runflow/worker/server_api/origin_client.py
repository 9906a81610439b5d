"""Small HTTP/1.1 requests to one origin, over connections that are kept.

A run takes three of them, while its caller waits, and a client for every case spends 0.2 ms of CPU on each; this one
0.06. It sends a body from memory and returns the whole answer. Proxies, redirects, compressed answers and bodies that
do not fit into memory are aiohttp's, as before.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, Self, cast
from urllib.parse import quote, urlsplit

from runflow import __version__
from runflow.worker.server_api.http_answer import MOST_BYTES, AnswerReader, BadAnswer

_PORTS = {"http": 80, "https": 443}
_SAFE_IN_PATH = "/:@!$&'()*+,;=?%~-._"
_SMALL = 64 * 1024
_CLOSE_SECONDS = 1.0
_CHANGES_NOTHING = ("GET",)


class OriginClient:
    """Requests to the origin of `url`, below its path. `headers` go with each of them.

    What goes wrong is an OSError: ConnectionError where the origin cannot be reached, breaks off or does not speak
    HTTP, TimeoutError where it takes too long. Nothing is tried twice, except a request that changes nothing, on a kept
    connection that the other side had just closed.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        keep_seconds: float,
        ssl_context: ssl.SSLContext | None = None,
        socket_path: str | None = None,
    ) -> None:
        """Prepare; nothing is connected before the first request. Raises ValueError for a URL or header that is none.

        `ssl_context` says whom to trust, where the URL is https; the public authorities if it is None. With
        `socket_path` the origin listens on that Unix socket, whatever host the URL names.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of an HTTP server.")
        self._host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        self._port = parts.port or _PORTS[parts.scheme]
        self._base = parts.path.rstrip("/")
        self._ssl = (ssl_context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._socket_path = socket_path
        self._connect_seconds = connect_seconds
        self._keep_seconds = keep_seconds
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._origin = host if self._port == _PORTS[parts.scheme] else f"{host}:{self._port}"
        agent = {"Host": self._origin, "User-Agent": f"runflow-worker/{__version__}", "Accept": "*/*"}
        self._headers = _lines({**agent, **headers})
        self._idle: list[_Line] = []
        self._open: set[_Line] = set()
        self._family: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; requests that wait for an answer break off."""
        lines = list(self._open)
        for line in lines:
            line.close()
        if lines:
            await asyncio.wait([line.gone for line in lines], timeout=_CLOSE_SECONDS)

    async def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float,
        connect_seconds: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> tuple[int, bytes]:
        """Send one request; return the status and the body of its answer, which must be complete within `seconds`.

        Raises `AnswerTooLong` for one of more than `most_bytes`.
        """
        head = self._head(method, path, body, headers)
        request = _Request(head, body or b"", time.monotonic() + seconds, most_bytes)
        line = self._kept()
        if line is not None:
            try:
                return await self._ask(line, request)
            except ConnectionError:
                if line.was_heard or method not in _CHANGES_NOTHING:
                    raise
        line = await self._connect(min(seconds, connect_seconds or self._connect_seconds))
        return await self._ask(line, request)

    async def _ask(self, line: "_Line", request: "_Request") -> tuple[int, bytes]:
        answer = await line.ask(request)
        if answer.keeps_connection and line.is_quiet:
            line.idle_since = time.monotonic()
            self._idle.append(line)
        else:
            line.close()
        return answer.status, answer.body

    def _head(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> bytes:
        target = quote(self._base + path, safe=_SAFE_IN_PATH)
        length = "" if body is None and method in _CHANGES_NOTHING else f"Content-Length: {len(body or b'')}\r\n"
        more = _lines(headers) if headers else ""
        return f"{method} {target} HTTP/1.1\r\n{self._headers}{more}{length}\r\n".encode()

    def _kept(self) -> "_Line | None":
        """Return the connection that was used last, if one may still be used; those that were idle too long close."""
        oldest = time.monotonic() - self._keep_seconds
        while self._idle and (self._idle[0].is_closed or self._idle[0].idle_since < oldest):
            self._idle.pop(0).close()
        while self._idle:
            line = self._idle.pop()
            if not line.is_closed:
                return line
        return None

    async def _connect(self, seconds: float) -> "_Line":
        """Connect, by each address family in its share of the time: a network may know IPv6 by name only."""
        loop = asyncio.get_running_loop()
        until = time.monotonic() + seconds
        where = self._socket_path or f"{self._host}:{self._port}"
        try:
            if self._socket_path is not None:
                async with asyncio.timeout(seconds):
                    return (await loop.create_unix_connection(partial(_Line, self._open), self._socket_path))[1]
            async with asyncio.timeout(seconds):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            families = sorted(dict.fromkeys(address[0] for address in found), key=lambda one: one != self._family)
            while families:
                family = families.pop(0)
                share = (until - time.monotonic()) / (len(families) + 1)
                try:
                    async with asyncio.timeout(share):
                        _, line = await loop.create_connection(
                            partial(_Line, self._open),
                            self._host,
                            self._port,
                            family=family,
                            ssl=self._ssl,
                            server_hostname=self._host if self._ssl is not None else None,
                        )
                except OSError:
                    if not families:
                        raise
                else:
                    self._family = family
                    return line
        except TimeoutError as error:
            raise TimeoutError(f"Connection timeout to host {where}") from error
        except OSError as error:
            raise ConnectionError(f"Cannot connect to host {where} [{error.strerror or error}]") from error
        raise ConnectionError(f"Cannot connect to host {where} [It has no address]")


class _Request(NamedTuple):
    """The bytes to send, when (monotonic) the answer must be there, and how many bytes of it are read."""

    head: bytes
    body: bytes
    until: float
    most_bytes: int


class _Line(asyncio.Protocol):
    """One connection, with at most one request on it."""

    def __init__(self, all_open: "set[_Line]") -> None:
        self.idle_since = 0.0
        self.is_closed = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing of it is left in the event loop."""
        self._all_open = all_open
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._answer: asyncio.Future[AnswerReader] | None = None

    @property
    def was_heard(self) -> bool:
        """Whether anything of the last answer came."""
        return self._reader.has_begun

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and everything was sent: an answer may come before the whole request was taken."""
        return not self.is_closed and self._transport is not None and not self._transport.get_write_buffer_size()

    async def ask(self, request: _Request) -> AnswerReader:
        """Send a request and return its answer. Raises ConnectionError and TimeoutError, and closes then."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._reader = AnswerReader(request.most_bytes)
        answer: asyncio.Future[AnswerReader] = loop.create_future()
        self._answer = answer
        late = loop.call_later(max(0.0, request.until - time.monotonic()), self._fail, TimeoutError())
        try:
            if len(request.body) <= _SMALL:
                self._transport.write(request.head + request.body)
            else:
                self._transport.writelines((request.head, request.body))
            return await answer
        except BaseException:
            self.close()
            raise
        finally:
            late.cancel()
            self._answer = None

    def close(self) -> None:
        """Close it; who waits for an answer gets a ConnectionError."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection. A peer that vanished without a word is to be noticed."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by their class
        self._all_open.add(self)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer. Bytes that nobody asked for end the connection."""
        if self._answer is None or self._answer.done():
            self.close()
            return
        try:
            if self._reader.feed(data):
                self._answer.set_result(self._reader)
        except BadAnswer as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for an answer."""
        self.is_closed = True
        self._all_open.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)
        if self._answer is not None and not self._answer.done():
            if exc is None and self._reader.end():
                self._answer.set_result(self._reader)
            else:
                self._fail(ConnectionResetError(str(exc) if exc is not None and str(exc) else "Server disconnected"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _lines(headers: Mapping[str, str]) -> str:
    lines = []
    for name, value in headers.items():
        if any(character in name + value for character in "\r\n\0") or ":" in name:
            raise ValueError(f"The header {name!r} holds a character that no header may hold.")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)
