"""The worker's side of the Worker API (docs/worker-api.md): one method per route, and what each refusal means."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, TypedDict
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from uuid import UUID

import aiohttp
import orjson

from runflow.protocol.codec import PARCEL, M, NotAMessage, from_wire, pack, to_wire
from runflow.protocol.completions import Completion, CompletionAnswer
from runflow.protocol.events import Event, Preview
from runflow.protocol.leases import Expected, Heartbeat, HeartbeatAnswer, LeaseRequest, Warm
from runflow.protocol.outputs import OutputFile, Upload, Uploads, UploadsAnswer
from runflow.protocol.prebuilds import (
    PrebuildAnswer,
    PrebuildOrder,
    PrebuildReport,
    PrebuildReported,
    PrebuildRequest,
)
from runflow.protocol.workers import PROTOCOL_VERSION, Registered, Registration
from runflow.tls import next_step, trusting
from runflow.worker.server_api.origin_client import OriginClient

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_STALLED_SECONDS = 60.0
"""A transfer that moves no byte for this long is given up (and tried again by whoever asked for it)."""

_KEEP_CONNECTION_SECONDS = 60.0

_LEASES = "/v1/worker/leases"
_PREBUILDS = "/v1/worker/prebuilds"
_JSON = {"Content-Type": "application/json"}
_AS_IT_IS = {"Accept-Encoding": "identity"}
_PARCEL = {"Content-Type": PARCEL}


class ServerUnavailable(Exception):
    """The server does not answer, or says that it cannot right now (5xx, 429). Trying again may help."""


class ServerFailing(ServerUnavailable):
    """The server, or the storage behind a signed URL, answers, but with 5xx or 429."""


class ServerRefused(Exception):
    """The server refuses for good what was asked; the same request again gets the same answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(f"{code} (HTTP {status}): {message}")


class NotWelcome(ServerRefused):
    """The server will never work with this worker: its token is not valid (401), or the versions differ (426)."""


class LeaseLost(ServerRefused):
    """The lease belongs to nobody or somebody else now. Stop its work and say nothing more about it."""


class Unregistered(ServerRefused):
    """The server does not know this worker (any more): register again."""


class Superseded(ServerRefused):
    """Another process has this worker's name now: this one ends."""


class CallerFields(TypedDict):
    """The fields of every message about a lease: who speaks."""

    protocol_version: int
    worker_id: UUID
    instance: UUID


class Connection:
    """Persistent connections to one server. Nothing here tries twice; `runflow.worker.server_api.retry` does.

    The worker token goes to the Worker API only, never to a signed URL (which may lead to another host).
    """

    def __init__(self, server: str, token: str, *, instance: UUID, ca_file: Path | None = None) -> None:
        """Prepare connections to `server`; `ca_file` names certificates to trust beside the public authorities.

        Raises `CertificateUnusable`.
        """
        trusted = trusting(ssl.create_default_context(), ca_file) if ca_file is not None else None
        self._server = server.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._instance = instance
        self._worker_id = instance  # until the server has given one
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_CONNECTION_SECONDS, ssl=trusted or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._proxy = proxy_for(self._server)
        self._direct = OriginClient(
            self._server,
            headers=self._headers,
            connect_seconds=_CONNECT_SECONDS,
            keep_seconds=_KEEP_CONNECTION_SECONDS,
            ssl_context=trusted,
        )
        self._transfer_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_STALLED_SECONDS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._direct.close()
        await self._session.close()

    @property
    def caller(self) -> CallerFields:
        """Who speaks, for messages that are made elsewhere."""
        return {"protocol_version": PROTOCOL_VERSION, "worker_id": self._worker_id, "instance": self._instance}

    async def register(self, registration: Registration) -> Registered:
        """Tell the server what this worker is."""
        answer = await self._ask(Registered, "/v1/worker/registrations", registration)
        self._worker_id = answer.worker_id
        return answer

    async def lease(
        self,
        *,
        wait_seconds: float,
        warm: list[Warm] | None = None,
        idle: bool = True,
        expected: list[Expected] | None = None,
        several_organizations: bool | None = None,
        without: list[str] | None = None,
    ) -> dict[str, Any] | None:
        """Wait up to `wait_seconds` (0..30) for a run. Raises `Unregistered` when the server does not know us.

        Upload URLs for the outputs that are `expected` of its version come with it. It is not read yet: whoever cannot
        read it has to refuse it by its id.
        """
        request = LeaseRequest(
            **self.caller,
            wait_seconds=wait_seconds,
            warm=warm or [],
            idle=idle,
            expected=expected or [],
            several_organizations=several_organizations,
            without=without or [],
        )
        answer = await self._post(_LEASES, request, wait_seconds + _ANSWER_SECONDS)
        lease: dict[str, Any] | None = answer.get("lease")
        return lease

    async def prebuild(self, *, wait_seconds: float) -> PrebuildOrder | None:
        """Wait up to `wait_seconds` for something to prepare. Raises `Unregistered` as `lease` does."""
        request = PrebuildRequest(**self.caller, wait_seconds=wait_seconds)
        answer = await self._post(_PREBUILDS, request, wait_seconds + _ANSWER_SECONDS)
        return self._read(PrebuildAnswer, answer).prebuild

    async def report_prebuild(self, lease_id: UUID, report: PrebuildReport) -> PrebuildReported:
        """Say how far a pre-build is, or how it ended. Raises `ServerRefused` when it is no longer ours."""
        return await self._ask(PrebuildReported, f"{_PREBUILDS}/{lease_id}/reports", report)

    async def heartbeat(self, lease_id: str, events: list[Event], preview: Preview | None = None) -> HeartbeatAnswer:
        """Renew a lease and hand over events, and a picture where the last answer asked for one. Raises `LeaseLost`."""
        beat = Heartbeat(**self.caller, events=events, preview=preview)
        return await self._ask(HeartbeatAnswer, f"{_LEASES}/{lease_id}/heartbeats", beat)

    async def request_uploads(self, lease_id: str, files: list[OutputFile]) -> list[Upload]:
        """Ask for signed URLs for outputs. Raises `LeaseLost`."""
        answer = await self._ask(UploadsAnswer, f"{_LEASES}/{lease_id}/uploads", Uploads(**self.caller, files=files))
        return answer.uploads

    async def complete(
        self, lease_id: str, completion: Completion, contents: Sequence[bytes] = ()
    ) -> dict[str, Any] | None:
        """Say how the lease ended, with the content of outputs that have no key. The same may be said again.

        Returns the next run, as `lease` does, where the completion asks for one. Raises `LeaseLost`.
        """
        path = f"{_LEASES}/{lease_id}/completions"
        if contents:
            answer = await self._send(path, pack(to_wire(completion), contents), _PARCEL)
        else:
            answer = await self._post(path, completion)
        lease: dict[str, Any] | None = answer.pop("lease", None)
        self._read(CompletionAnswer, answer)
        return lease

    async def put(self, url: str, headers: Mapping[str, str], data: Any, method: str = "PUT") -> None:
        """Send bytes, or an asynchronous iterable of them, to a signed URL.

        With `If-None-Match` among the headers, 412 says that it was sent before. Raises `ServerUnavailable` on
        connection trouble, `ServerFailing` on 5xx, `ServerRefused` on any other status but 2xx.
        """
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, timeout=self._transfer_timeout, proxy=proxy_for(url)
            ) as response:
                # Only this worker has the URL: what is there is what an earlier try sent, whose answer was lost.
                is_there = response.status == 412 and "If-None-Match" in headers
                if not 200 <= response.status < 300 and not is_there:
                    raise _refusal(response.status, await response.read(), self._host(url))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnavailable(f"{self._host(url)} did not take the file: {_words(error)}") from error

    @asynccontextmanager
    async def get(
        self, url: str, *, offset: int = 0, end: int | None = None, validator: str | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a signed URL for reading, from `offset` on: status 206, or 200 where all comes anew.

        `end` is exclusive. All comes anew, too, where the file is no longer the one that had that `validator`, an ETag
        or the time of a change. Raises like `put`, also while the body is being read.
        """
        part = range_headers(offset, end, validator)
        try:
            async with self._session.get(
                url, headers={**part, **_AS_IT_IS}, timeout=self._transfer_timeout, proxy=proxy_for(url)
            ) as response:
                if response.status not in ((200, 206) if part else (200,)):
                    raise _refusal(response.status, await response.read(), self._host(url))
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnavailable(f"{self._host(url)} did not send the file: {_words(error)}") from error

    async def _ask(self, kind: type[M], path: str, message: Any) -> M:
        """Send a message and return its answer."""
        return self._read(kind, await self._post(path, message))

    def _read(self, kind: type[M], content: dict[str, Any]) -> M:
        try:
            return from_wire(kind, content)
        except NotAMessage as problem:
            message = (
                f"{self._server} gave an answer that cannot be read ({problem}). "
                "Install the same Runflow release on both."
            )
            raise ServerRefused(200, "UNREADABLE", message) from problem

    async def _post(self, path: str, message: Any, seconds: float = _ANSWER_SECONDS) -> dict[str, Any]:
        return await self._send(path, to_wire(message), _JSON, seconds)

    async def _send(
        self, path: str, data: bytes, headers: Mapping[str, str], seconds: float = _ANSWER_SECONDS
    ) -> dict[str, Any]:
        try:
            if self._proxy is None:
                status, content = await self._direct.exchange("POST", path, data, headers=headers, seconds=seconds)
            else:
                status, content = await self._send_by_proxy(path, data, headers, seconds)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServerUnavailable(f"{self._server} does not answer: {_words(error)}.{next_step(error)}") from error
        if 200 <= status < 300:
            return _json_object(content, self._server + path)
        raise _refusal(status, content, self._server, path)

    async def _send_by_proxy(
        self, path: str, data: bytes, headers: Mapping[str, str], seconds: float
    ) -> tuple[int, bytes]:
        async with self._session.post(
            self._server + path,
            data=data,
            headers={**self._headers, **headers},
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
            proxy=self._proxy,
            allow_redirects=False,
        ) as response:
            return response.status, await response.read()

    @staticmethod
    def _host(url: str) -> str:
        """Where a signed URL leads, without the signature: the only part of it that may be logged."""
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"


def range_headers(start: int, end: int | None, validator: str | None) -> dict[str, str]:
    """Return the headers that ask for a part of a file, `end` exclusive; none where all of it is wanted."""
    if start == 0 and end is None:
        return {}
    headers = {"Range": f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"}
    return headers if validator is None else {**headers, "If-Range": validator}


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return type(error).__name__  # what they say holds the whole URL, with its signature
    return str(error) or type(error).__name__


def _json_object(content: bytes, url: str) -> dict[str, Any]:
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerUnavailable(f"{url} answered with something that is not JSON: is this address a Runflow server?")
    return answer


def _refusal(status: int, content: bytes, host: str, path: str = "") -> Exception:
    """The exception for an answer that is not 2xx; `path` of a route of the Worker API, empty for a signed URL."""
    try:
        envelope = orjson.loads(content)
    except orjson.JSONDecodeError:
        envelope = None
    if not isinstance(envelope, dict):
        envelope = {}
    code = str(envelope.get("code") or "HTTP_ERROR")
    message = str(envelope.get("message") or content[:200].decode("utf-8", "replace") or f"{host} gave no reason")
    if status >= 500 or status in (408, 425, 429):
        return ServerFailing(f"{host} answered {status} {code}: {message}")
    if status in (401, 426):
        return NotWelcome(status, code, message)
    if code == "WORKER_SUPERSEDED":
        return Superseded(status, code, message)
    if status == 409 and path in (_LEASES, _PREBUILDS):
        return Unregistered(status, code, message)
    if code == "LEASE_LOST" or (path.startswith(_LEASES) and (status == 409 or code == "LEASE_NOT_FOUND")):
        return LeaseLost(status, code, message)
    return ServerRefused(status, code, message)


@lru_cache(maxsize=256)
def _proxy_for_origin(scheme: str, host: str) -> str | None:
    if not host or proxy_bypass(host):
        return None
    return getproxies().get(scheme)


def proxy_for(url: str) -> str | None:
    """Return the proxy for `url` (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), or None for a direct connection."""
    parts = urlsplit(url)
    return _proxy_for_origin(parts.scheme, parts.netloc.rpartition("@")[2])
