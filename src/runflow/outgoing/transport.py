"""The guard: an httpx transport whose connections go to checked addresses only.

The check stands in httpcore's network backend, below HTTP and TLS: the host name is resolved once, every address is
checked, and the connection is made to one of exactly these addresses. TLS still verifies the host name, because the
pool keeps it. There is no later look-up that could answer differently (DNS rebinding).
"""

import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx

from runflow.outgoing.addresses import AddressPolicy
from runflow.outgoing.errors import BlockedAddress, OutgoingConnectionError, OutgoingError, OutgoingTimeout
from runflow.outgoing.resolver import Resolver
from runflow.outgoing.urls import Origin, label, origin

CONNECT_SECONDS = 5.0
"""Per address: a host with a dead address and a good one is still reached."""
MAX_ADDRESSES = 4


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that a policy permits; without a policy to any."""

    def __init__(
        self, policy: AddressPolicy | None, resolver: Resolver, inner: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        """`inner` makes the connection to an address; httpcore's own by default."""
        self._policy = policy
        self._resolver = resolver
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect. Raises `BlockedAddress`, `OutgoingConnectionError` and httpcore's connection errors."""
        try:
            addresses = await self._resolver(host, port)
        except OSError as error:
            raise OutgoingConnectionError(host, f"The host name {host} does not resolve.") from error
        if self._policy is not None and addresses and not (addresses := self._policy.select(addresses)):
            raise BlockedAddress(
                host,
                f"{host} is in a private or reserved network, which requests to given addresses may not reach. "
                "The operator can allow a network with RUNFLOW_ALLOWED_NETWORKS.",
            )
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                stream = await self._inner.connect_tcp(address, port, timeout=timeout, socket_options=socket_options)
                return _ClosingStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _ClosingStream(httpcore.AsyncNetworkStream):
    """A connection that is closed when its TLS handshake does not end well.

    httpcore 1.0.9 closes it on errors but not on cancellation, which is how our time limit ends a handshake; the event
    loop would then keep the socket open until the other side closes it.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests over guarded connections; those to `allowed_origins` go wherever these resolve to.

    Connections are not kept: each request is checked for itself, and none meets a connection that the other side has
    just given up. It raises `OutgoingError` subclasses instead of httpx's errors.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        allowed_origins: frozenset[Origin],
        resolver: Resolver,
        ssl_context: ssl.SSLContext,
    ) -> None:
        """Prepare; nothing is opened before it is needed."""
        self._allowed_origins = allowed_origins
        self._guarded = _pool(GuardedBackend(policy, resolver), ssl_context)
        self._trusted = _pool(GuardedBackend(None, resolver), ssl_context)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer, body unread. Redirects are answers too."""
        pool = self._trusted if origin(request.url) in self._allowed_origins else self._guarded
        try:
            response = await pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={"timeout": {"connect": CONNECT_SECONDS}},
                )
            )
        except _FAILURES as error:
            raise explain(label(request.url), error) from error
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response, label(request.url)), request=request
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._guarded.aclose()
        await self._trusted.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, its errors explained."""

    def __init__(self, response: httpcore.Response, host: str) -> None:
        self._response = response
        self._host = host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.aiter_stream():
                yield part
        except _FAILURES as error:
            raise explain(self._host, error) from error

    async def aclose(self) -> None:
        await self._response.aclose()


_FAILURES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


def _pool(backend: httpcore.AsyncNetworkBackend, ssl_context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl_context, max_connections=None, max_keepalive_connections=0, network_backend=backend
    )


def explain(host: str, error: BaseException) -> OutgoingError:
    """Return the error in our words."""
    if isinstance(error, httpcore.TimeoutException):
        return OutgoingTimeout(host, f"{host} did not accept a connection within {CONNECT_SECONDS:g} seconds.")
    if isinstance(error, httpcore.ProtocolError):
        return OutgoingConnectionError(host, f"{host} broke off or did not answer in HTTP.")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return OutgoingConnectionError(
                host, f"The TLS certificate of {host} is not valid: {cause.verify_message.rstrip('.')}."
            )
        if isinstance(cause, ssl.SSLError):
            return OutgoingConnectionError(host, f"TLS with {host} failed: {cause.reason or 'handshake'}.")
        if isinstance(cause, ConnectionRefusedError):
            return OutgoingConnectionError(host, f"{host} refused the connection.")
        if isinstance(cause, ConnectionError):
            return OutgoingConnectionError(host, f"{host} reset the connection.")
        if isinstance(cause, OSError) and cause.errno:
            return OutgoingConnectionError(host, f"{host} cannot be reached: {cause.strerror or 'network error'}.")
        cause = cause.__cause__ or cause.__context__
    return OutgoingConnectionError(host, f"The connection to {host} broke off.")
