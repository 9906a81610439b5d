"""Where the worker gets files from: the server's signed URLs, and addresses that strangers chose."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from runflow.outgoing import (
    GuardedClient,
    HttpStatusError,
    OutgoingConnectionError,
    OutgoingError,
    OutgoingTimeout,
)
from runflow.outgoing.urls import host_of
from runflow.worker.server_api.connection import Connection, ServerRefused, ServerUnavailable, range_headers
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.fetch.ranges import Body, SourceFailed

_SIZE = re.compile(r"[0-9]{1,19}")
_CONTENT_RANGE = re.compile(rf"bytes ({_SIZE.pattern})-{_SIZE.pattern}/({_SIZE.pattern}|\*)")
_LONGEST_VALIDATOR = 500
_NO_SUCH_PART = 416
"""An empty file has no parts, and one that has become shorter lacks some: what it is now is seen by asking for all."""


class ServerSource:
    """A file behind a signed URL of the server."""

    def __init__(self, connection: Connection, url: str) -> None:
        self.what = host_of(url)
        self._connection = connection
        self._url = url

    @asynccontextmanager
    async def open(self, start: int, end: int | None, validator: str | None) -> AsyncIterator[Body]:
        """Open the file, as `Source` says."""
        try:
            async with self._connection.get(self._url, offset=start, end=end, validator=validator) as response:
                yield _body(self.what, response.status, response.headers, response.content.iter_any())
                return
        except ServerUnavailable as trouble:
            raise SourceFailed(f"{trouble}.", retryable=True) from trouble
        except ServerRefused as refusal:
            if refusal.status != _NO_SUCH_PART or (start == 0 and end is None):
                message = f"{self.what} refused the file with HTTP status {refusal.status} {refusal.code}."
                raise SourceFailed(message, retryable=False) from refusal
        async with self.open(0, None, None) as body:
            yield body


class AddressSource:
    """A file at an address that a stranger chose, with the operator's credentials for its host."""

    def __init__(self, client: GuardedClient, url: str, credentials: Credentials) -> None:
        self.what = host_of(url)
        self._client = client
        self._url = url
        self._credentials = credentials

    @asynccontextmanager
    async def open(self, start: int, end: int | None, validator: str | None) -> AsyncIterator[Body]:
        """Open the file, as `Source` says. What the guard refuses is the cause of a `SourceFailed`."""
        headers = range_headers(start, end, validator)
        try:
            async with self._client.open(
                self._url, headers=headers, credentials=self._credentials.headers_for
            ) as answer:
                yield _body(self.what, answer.status, answer.headers, answer.chunks)
                return
        except HttpStatusError as error:
            if error.status != _NO_SUCH_PART or not headers:
                raise _refused(error) from error
        except OutgoingError as error:
            may_work = isinstance(error, OutgoingTimeout | OutgoingConnectionError)
            raise SourceFailed(str(error), retryable=may_work) from error
        async with self.open(0, None, None) as body:
            yield body


def _refused(error: HttpStatusError) -> SourceFailed:
    message = str(error)
    if error.status in (401, 403):
        message += " If it wants a login, the worker's operator can name one with RUNFLOW_DOWNLOAD_CREDENTIALS."
    return SourceFailed(message, retryable=error.status >= 500 or error.status in (408, 425, 429))


def _body(what: str, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> Body:
    """Return what an answer of 2xx holds."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise SourceFailed(
            f"{what} sent the file with Content-Encoding {encoding[:40]!r}. Serve it without compression.",
            retryable=False,
        )
    if status == 206:
        told = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if told is None:
            raise SourceFailed(f"{what} sent a part of the file and did not tell which.", retryable=False)
        start, total = told.groups()
        return Body(int(start), int(total) if total != "*" else None, _validator(headers), chunks, is_part=True)
    if status != 200:
        raise SourceFailed(f"{what} answered with HTTP status {status} instead of the file.", retryable=False)
    length = headers.get("Content-Length", "")
    return Body(0, int(length) if _SIZE.fullmatch(length) else None, _validator(headers), chunks, is_part=False)


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return what tells one state of a file from another, and can be sent back: weak ETags do not."""
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    is_usable = validator.isascii() and validator.isprintable() and 0 < len(validator) <= _LONGEST_VALIDATOR
    return validator if is_usable else None
