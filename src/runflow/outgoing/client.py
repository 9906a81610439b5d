"""Requests to addresses that others chose: bounded in time, size, redirects and reach."""

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import httpx

from runflow.outgoing.addresses import AddressPolicy, parse_networks
from runflow.outgoing.errors import (
    EncodedContent,
    HttpStatusError,
    OutgoingConnectionError,
    OutgoingTimeout,
    TooLarge,
    TooManyRedirects,
)
from runflow.outgoing.filename import filename_of
from runflow.outgoing.resolver import Resolver, system_resolver
from runflow.outgoing.transport import GuardedTransport
from runflow.outgoing.urls import Origin, check_url, label, origin, parse_origins, redirect_target
from runflow.settings import Settings
from runflow.tls import trusting

MAX_REDIRECTS = 3
"""Each is checked like the first address (docs/security.md, "Outgoing requests")."""
BODY_SECONDS = 2.0
"""A delivery counts by its answer's status; the rest of the answer is only for people to read."""
WRITE_BYTES = 1024 * 1024
STALLED_SECONDS = 60.0

HeadersFor = Callable[[Origin], Mapping[str, str]]
"""Gives the headers that hold the credentials for one exact origin, none where there are no such."""

_HEADERS = {"User-Agent": "Runflow", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a `post`: `body` is its beginning, `elapsed_ms` the time until then."""

    status: int
    body: bytes
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that `fetch` has written. `content_type` has no parameters; `filename` is safe as one path component."""

    path: Path
    size_bytes: int
    content_type: str | None
    filename: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is read while it comes. `headers` are found in any case; `chunks` are the bytes as sent."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class GuardedClient:
    """The one client for addresses that others chose. Uses no proxy of the environment, keeps no cookies."""

    def __init__(
        self,
        allowed_networks: str = "",
        allowed_origins: Iterable[str] = (),
        *,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Take `RUNFLOW_ALLOWED_NETWORKS` and the URLs whose exact origins are allowed wherever they resolve to.

        `ssl_context` defaults to the usual public authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them).
        Raises `InvalidNetworks`, and `InvalidUrl` for an origin.
        """
        self._transport = GuardedTransport(
            AddressPolicy(parse_networks(allowed_networks)),
            parse_origins(allowed_origins),
            resolver,
            ssl_context or httpx.create_ssl_context(),
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the client of this installation: its allowed networks, and its own origins."""
        trusted = trusting(httpx.create_ssl_context(), settings.ca_file)
        return cls(settings.allowed_networks, settings.own_origins, ssl_context=trusted)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def post(
        self, url: str, content: bytes, headers: Mapping[str, str], timeout: float, keep_bytes: int
    ) -> Answer:
        """Send `content` and return the answer with its first `keep_bytes` bytes, whatever its status.

        A redirect is answered with the same POST (303 with a GET). `timeout` is in seconds and for everything: look-up,
        connection, redirects, answer. Raises `InvalidUrl`, `BlockedAddress`, `TooManyRedirects`, `OutgoingTimeout`,
        `OutgoingConnectionError`.
        """
        started = time.monotonic()
        deadline = asyncio.get_running_loop().time() + timeout
        target = check_url(url)
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._open("POST", target, {**headers, **_HEADERS}, content)
        except TimeoutError as error:
            raise OutgoingTimeout(label(target), _late(target, timeout)) from error
        try:
            body = await _beginning(response, keep_bytes, deadline)
        finally:
            await response.aclose()
        return Answer(response.status_code, body, round((time.monotonic() - started) * 1000))

    async def fetch(self, url: str, *, limit: int, timeout: float, destination: Path) -> Fetched:
        """Write what a GET of `url` answers into the file `destination`, whose folder exists.

        `limit` is in bytes; `timeout` in seconds and for everything. When it fails, the file does not exist.
        Raises `InvalidUrl`, `BlockedAddress`, `TooManyRedirects`, `OutgoingTimeout`, `OutgoingConnectionError`,
        `TooLarge`, `EncodedContent`, `HttpStatusError`, and OSError where the file cannot be written.
        """
        target = check_url(url)
        try:
            async with asyncio.timeout(timeout):
                response = await self._open("GET", target, _HEADERS, None)
                try:
                    return await _save(response, limit, destination)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise OutgoingTimeout(label(target), _late(target, timeout)) from error

    @contextlib.asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: HeadersFor | None = None,
        timeout: float = STALLED_SECONDS,
    ) -> AsyncIterator[Opened]:
        """GET `url` and hand out the answer to read. The whole may take any time.

        `timeout` is in seconds, for what comes before the body (look-up, connection, redirects), then for each chunk.
        `credentials` are those of the URL's own origin: a redirect to another one ends them, also for what follows.
        Raises `InvalidUrl`, `BlockedAddress`, `TooManyRedirects`, `OutgoingTimeout`, `OutgoingConnectionError`,
        `EncodedContent`, `HttpStatusError`; the chunks raise `OutgoingTimeout` and `OutgoingConnectionError`.
        """
        target = check_url(url)
        private = credentials(origin(target)) if credentials is not None else None
        try:
            async with asyncio.timeout(timeout):
                response = await self._open("GET", target, {**(headers or {}), **_HEADERS}, None, private)
        except TimeoutError as error:
            raise OutgoingTimeout(label(target), f"{label(target)} gave no answer for {timeout:g} seconds.") from error
        try:
            _check_answer(response)
            async with contextlib.aclosing(_steadily(response, timeout)) as chunks:
                yield Opened(response.status_code, response.headers, chunks)
        finally:
            await response.aclose()

    async def _open(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: bytes | None,
        private: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return the first answer that is no redirect; its caller closes it.

        `private` headers are sent as long as no redirect has led away from the origin of `url`.
        """
        current, sent = url, {**(private or {}), **headers}
        for _ in range(MAX_REDIRECTS + 1):
            request = httpx.Request(method, current, headers=sent, content=content)
            response = await self._transport.handle_async_request(request)
            try:
                following = redirect_target(current, response)
                if following is None:
                    return response
            except BaseException:
                await response.aclose()
                raise
            await response.aclose()
            # A 301 or 302 would turn into a GET in a browser; here that would lose the message without a trace.
            if response.status_code == 303:
                method, content = "GET", None
            if origin(following) != origin(url):
                sent = {**headers}
            current = following
        raise TooManyRedirects(label(url), f"{label(url)} redirects more than {MAX_REDIRECTS} times.")


def _late(url: httpx.URL, timeout: float) -> str:
    return f"{label(url)} did not answer completely within {timeout:g} seconds."


async def _beginning(response: httpx.Response, keep_bytes: int, deadline: float) -> bytes:
    """Read the first bytes of a body, as long as they come soon."""
    body = bytearray()
    soon = asyncio.get_running_loop().time() + BODY_SECONDS
    with contextlib.suppress(TimeoutError, OutgoingTimeout, OutgoingConnectionError):
        async with asyncio.timeout_at(min(soon, deadline)):
            async for part in response.aiter_raw():
                body += part[: keep_bytes - len(body)]
                if len(body) >= keep_bytes:
                    break
    return bytes(body)


async def _steadily(response: httpx.Response, seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, as long as something comes within `seconds`."""
    parts = response.aiter_raw()
    while True:
        try:
            async with asyncio.timeout(seconds):
                part = await anext(parts, None)
        except TimeoutError as error:
            host = label(response.request.url)
            raise OutgoingTimeout(host, f"{host} sent nothing for {seconds:g} seconds.") from error
        if part is None:
            return
        yield part


def _check_answer(response: httpx.Response) -> None:
    """Raise `HttpStatusError` and `EncodedContent` for what is not the file itself."""
    url = response.request.url
    if not response.is_success:
        raise HttpStatusError(label(url), response.status_code)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise EncodedContent(label(url), encoding)


async def _save(response: httpx.Response, limit: int, destination: Path) -> Fetched:
    _check_answer(response)
    url = response.request.url
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(label(url), limit)
    try:
        size, digest = await _write(response, limit, destination)
    except BaseException:
        _remove(destination)
        raise
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Fetched(
        path=destination,
        size_bytes=size,
        content_type=media_type or None,
        filename=filename_of(url, response.headers.get("content-disposition")),
        sha256=digest,
    )


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _write(response: httpx.Response, limit: int, destination: Path) -> tuple[int, str]:
    size, waiting, digest = 0, bytearray(), hashlib.sha256()

    def keep(file: BinaryIO, data: bytes) -> None:
        file.write(data)
        digest.update(data)

    # Disks stall; the event loop must not. Closing waits for a write that a cancellation left behind.
    with destination.open("wb") as file:
        async for part in response.aiter_raw():
            size += len(part)
            if size > limit:
                raise TooLarge(label(response.request.url), limit)
            waiting += part
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(keep, file, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(keep, file, bytes(waiting))
    return size, digest.hexdigest()
