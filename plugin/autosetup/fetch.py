"""The one HTTP client of Auto setup: every address and every redirect is judged, every connection goes where it may.

The addresses of a host are judged where the connection is made, so a name that answers differently the second time
gains nothing. Proxies of the environment, cookies and stored passwords are not used.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ..graph.addresses import is_public
from ..version import VERSION
from .sources import Source, SourceRefused, Sources

_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=20, sock_read=60)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_HEADERS = {"User-Agent": f"ComfyUI-Runflow/{VERSION}", "Accept-Encoding": "identity"}
_NEXT = {
    401: "it wants a login. Get the file by hand",
    403: "it wants a login, or an agreement on its site. Get the file by hand",
    404: "there is nothing at this address",
    429: "it asks for a pause. Try again later",
}


class FetchFailed(Exception):
    """A request failed for a reason that another try may not meet; the message says why."""


class AddressRefused(OSError):
    """A host has an address that must not be connected to."""


async def addresses(host: str, port: int, *, trusted: bool) -> list[tuple[int, str]]:
    """The addresses of a host as (family, text); one private address refuses the host, unless it is trusted.

    Raises:
        AddressRefused: it has an address that is not public.
        OSError: its name cannot be looked up.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    rows = list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))
    if not trusted and not all(is_public(address) for _, address in rows):
        raise AddressRefused(f"{host} leads to this machine or to a private network.")
    return rows


class _Resolver(AbstractResolver):
    def __init__(self, *, trusted: bool) -> None:
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        rows = await addresses(host, port, trusted=self._trusted)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=number, proto=0, flags=socket.AI_NUMERICHOST)
            for number, address in rows
            if family in (socket.AF_UNSPEC, number)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class Fetcher:
    """Requests under the rules of `sources`. Use it as an async context manager."""

    def __init__(self, sources: Sources) -> None:
        """Prepare; nothing is asked yet."""
        self.sources = sources
        self._sessions = {trusted: _session(trusted=trusted) for trusted in (False, True)}

    async def __aenter__(self) -> Fetcher:
        """Use it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            await session.close()

    @asynccontextmanager
    async def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, one_host: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of a GET, redirects followed; `one_host` refuses those to another host.

        Raises:
            SourceRefused: this address, or one that it redirects to, must not be asked.
            FetchFailed: no answer, or a refusal.
        """
        source = self.sources.check(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._ask(source, headers or {})
            try:
                if response.status not in _REDIRECTS:
                    if response.status >= 400 and response.status != 416:
                        reason = _NEXT.get(response.status, "try again later")
                        raise FetchFailed(f"{source.host} answers {response.status}: {reason}.")
                    yield response
                    return
                location = urljoin(source.url, response.headers.get("Location", ""))
                target = self.sources.check(location, redirected=True)
                if target.scheme == "file":
                    raise SourceRefused(f"{source.host} redirects to a file of this machine.")
                if one_host and (target.host, target.port) != (source.host, source.port):
                    raise SourceRefused(f"{source.host} redirects to another host, {target.host}.")
                source = target
            finally:
                response.close()
        raise FetchFailed(f"{source.host} redirects too often.")

    async def json(self, url: str, limit: int = 1 << 20) -> Any:
        """The JSON at an address. Raises as `get` does, and FetchFailed where it is none or longer than `limit`."""
        async with self.get(url, {"Accept": "application/json"}) as response:
            try:
                return json.loads(await read_at_most(response, limit))
            except (ValueError, RecursionError):
                raise FetchFailed(f"{response.url.host} does not answer with JSON.") from None

    async def _ask(self, source: Source, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        session = self._sessions[source.trusted]
        url = URL(source.url, encoded=True)  # signatures in an address do not survive another spelling
        try:
            return await session.get(url, headers=dict(headers), allow_redirects=False)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise SourceRefused(str(error.os_error)) from None
            raise FetchFailed(f"{source.host} cannot be reached.") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise FetchFailed(f"{source.host} does not answer: {type(error).__name__}.") from error


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer, cut off by an error where it is longer. Raises FetchFailed."""
    content = b""
    try:
        async for chunk in response.content.iter_chunked(1 << 16):
            content += chunk
            if len(content) > limit:
                raise FetchFailed(f"{response.url.host} sends more than expected.")
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        raise FetchFailed(f"{response.url.host} breaks off: {type(error).__name__}.") from error
    return content


def _session(*, trusted: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(resolver=_Resolver(trusted=trusted), use_dns_cache=False, force_close=True)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=_TIMEOUT,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
