"""Files in an S3-compatible bucket: obstore moves what passes through the server, signed URLs lead past it."""

import asyncio
import hashlib
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import S3Store

from runflow import errors
from runflow.master_key import MasterKey
from runflow.s3_location import Bucket
from runflow.storage.download import disposition, served_type
from runflow.storage.keys import InvalidKey, validate
from runflow.storage.s3_credentials import BucketCredentials
from runflow.storage.s3_presign import presigned
from runflow.storage.signed_urls import UrlSigner
from runflow.storage.store import Storage, StoredObject, not_found, once, too_large, wrong_size

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig

log = structlog.get_logger()

SINGLE_PUT_BYTES = 5 * 1024**3
"""S3 takes no larger file in one PUT, and copies none in one request."""
PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 3
_AT_ONCE = 1000
"""How many objects one request may remove."""
_PROBE = "probe"
# Deep in what the library tells to developers: an error of the operating system, or of a certificate.
_CAUSE = re.compile(r'(?:\bmessage: "|\bInvalidCertificate\(\s*)([^"?,()]{1,200})')

T = TypeVar("T")


class S3Storage(Storage):
    """Keeps the installation's files in a bucket."""

    max_object_bytes = SINGLE_PUT_BYTES

    def __init__(
        self, bucket: Bucket, credentials: BucketCredentials, key: MasterKey, *, authorities: bytes | None = None
    ) -> None:
        """Use this bucket with these credentials; nothing is asked of it yet.

        `authorities` are certificates (PEM) to trust beside the public ones.
        """
        self._bucket = bucket
        self._authorities = authorities
        self._credentials = credentials
        self._signer = UrlSigner.of(key)
        self._refuses_to_replace = False
        # obstore counts a body's time as well, so whatever carries one has a store with more patience.
        self._store = self._open(timedelta(seconds=30))
        self._bodies = self._open(timedelta(hours=6))

    def _open(self, timeout: timedelta) -> S3Store:
        client: ClientConfig = {
            "timeout": timeout,
            "connect_timeout": timedelta(seconds=5),
            "allow_http": self._bucket.endpoint.startswith("http://"),
        }
        if self._authorities is not None:
            client["root_certificate"] = self._authorities
        retry: RetryConfig = {
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=20),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
        }
        return S3Store(
            self._bucket.name,
            prefix=self._bucket.prefix or None,
            endpoint=self._bucket.store_endpoint,
            region=self._bucket.region,
            virtual_hosted_style_request=not self._bucket.path_style,
            credential_provider=self._credentials.for_obstore,
            client_options=client,
            retry_config=retry,
        )

    @property
    def signer(self) -> UrlSigner:
        """Checks the URLs that were given out when the files were on the local disk."""
        return self._signer

    async def put(
        self,
        key: str,
        chunks: AsyncIterator[bytes] | bytes,
        *,
        limit: int,
        size_bytes: int | None = None,
        content_type: str | None = None,
        settle: bool = True,
        replace: bool = True,
    ) -> StoredObject:
        """Store the bytes; in parts where there are many, which are given up when the source fails.

        Without `replace` an object that is there is a `Conflict`, whatever its bytes are.
        """
        if not replace and await self.stat(key) is not None:
            raise errors.Conflict(
                f"Something is stored as {key.rpartition('/')[2]!r} of this attempt already; it stays."
            )
        passing = _Counted(once(chunks) if isinstance(chunks, bytes) else chunks, limit, size_bytes)
        first = await passing.block()
        body: bytes | AsyncIterator[bytes] = first if passing.ended else passing.rest(first)
        put = obstore.put_async(
            self._bodies,
            validate(key),
            body,
            attributes={"Content-Type": content_type} if content_type else None,
            use_multipart=not passing.ended,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        found = await self._ask(put)
        return StoredObject(key, passing.size, content_type, passing.sha256, found["e_tag"])

    async def head(self, key: str) -> StoredObject | None:
        """Return what the bucket knows of the object: a bucket answers only what it has for good."""
        return await self.stat(key)

    async def stat(self, key: str) -> StoredObject | None:
        """Return what the bucket knows of the object."""
        try:
            found = await self._ask(obstore.get_async(self._store, validate(key), options={"head": True}))
        except (errors.NotFound, InvalidKey):
            return None
        meta, content_type = found.meta, found.attributes.get("Content-Type")
        return StoredObject(key, meta["size"], content_type, None, meta["e_tag"], meta["last_modified"])

    async def open(self, key: str, start: int | None = None, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes as the bucket sends them."""
        begin = start or 0
        if end is not None and end <= begin:
            return once(b"")
        options: Any = {}
        if end is not None:
            options = {"range": (begin, end)}
        elif begin:
            options = {"range": {"offset": begin}}
        return self._pass_on(await self._ask(obstore.get_async(self._bodies, validate(key), options=options)))

    async def copy(self, source: str, target: str) -> None:
        """Let the bucket copy the object, its type included."""
        await self._ask(obstore.copy_async(self._bodies, validate(source), validate(target)))

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, many in one request."""
        names = [validate(key) for key in keys]
        for first in range(0, len(names), _AT_ONCE):
            await self._ask(obstore.delete_async(self._store, names[first : first + _AT_ONCE]))

    async def list(self, prefix: str, *, before: datetime | None = None) -> AsyncIterator[str]:
        """Go through the keys below the prefix, a page of the bucket's own list at a time."""
        pages = aiter(obstore.list(self._store, validate(prefix.rstrip("/"))))
        while (page := await self._ask(anext(pages, None))) is not None:
            for found in page:
                if before is None or found["last_modified"] < before:
                    yield found["path"]

    async def examine(self, key: str, look: Callable[[BinaryIO], T]) -> T:
        """Bring the object into a temporary file and give it to `look`."""
        content = await self.open(key)
        with tempfile.TemporaryFile(prefix="runflow-") as file:
            async for chunk in content:
                await asyncio.to_thread(file.write, chunk)
            file.seek(0)
            return await asyncio.to_thread(look, file)

    async def ready(self) -> None:
        """Ask the bucket for an object that is not there: it answers, and knows us."""
        await self.stat(_PROBE)

    async def check(self) -> None:
        """Write, read and remove an object, so that a wrong name, key or permission shows at the start."""
        key = f"{_PROBE}/{secrets.token_hex(8)}"
        try:
            await self.put(key, b"probe", limit=5)
            if await self.stat(key) is None:
                raise errors.Unavailable(f"The bucket {self._bucket} does not keep what is stored in it.")
            self._refuses_to_replace = await self._refuses_a_second(key)
            await self.delete([key])
        except errors.NotFound:
            raise errors.Unavailable(
                f"There is no bucket {self._bucket.name} at {self._bucket.endpoint}. Make it, or correct "
                "RUNFLOW_STORAGE_URL, RUNFLOW_STORAGE_ENDPOINT and RUNFLOW_STORAGE_REGION."
            ) from None

    async def _refuses_a_second(self, key: str) -> bool:
        """Tell whether the bucket keeps what it has where a PUT says `If-None-Match: *`; not every service does."""
        try:
            await obstore.put_async(self._store, validate(key), b"other", mode="create")
        except AlreadyExistsError:
            return True
        except (OSError, ObstoreError):
            log.info("the bucket does not know If-None-Match: outputs are copied when a run ends")
        return False

    async def close(self) -> None:
        """Stop renewing the credentials."""
        await self._credentials.close()

    def upload_url(
        self, base: str, key: str, *, content_type: str, size_bytes: int | None, max_bytes: int, seconds: int
    ) -> str:
        """Return a URL at the bucket itself. It holds the sender to type and size, where that is known."""
        headers = {"Content-Type": content_type}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        return presigned(
            self._bucket, self._credentials.current, "PUT", validate(key), seconds=seconds, headers=headers
        )

    def new_object_url(
        self, base: str, key: str, *, content_type: str, size_bytes: int | None, max_bytes: int, seconds: int
    ) -> tuple[str, dict[str, str]]:
        """Return a URL as `upload_url` does, which replaces nothing in a bucket that knows `If-None-Match`."""
        headers = {"Content-Type": content_type}
        if self._refuses_to_replace:
            headers["If-None-Match"] = "*"
        signed = headers if size_bytes is None else {**headers, "Content-Length": str(size_bytes)}
        credentials = self._credentials.current
        return presigned(self._bucket, credentials, "PUT", validate(key), seconds=seconds, headers=signed), headers

    async def sealed(self, key: str) -> str:
        """Return the key itself where no URL replaces what it has; else that of a copy that no URL leads to."""
        if self._refuses_to_replace:
            return key
        folder, _, name = key.rpartition("/")
        target = f"{folder}/{secrets.token_hex(16)}/{name}"
        await self.copy(key, target)
        return target

    def download_url(self, base: str, key: str, *, filename: str | None, content_type: str | None, seconds: int) -> str:
        """Return a URL at the bucket itself, which answers under this name and type."""
        shown_as = served_type(content_type)
        query = {
            "response-content-type": shown_as,
            "response-content-disposition": disposition(shown_as, filename),
        }
        return presigned(self._bucket, self._credentials.current, "GET", validate(key), seconds=seconds, query=query)

    async def _ask(self, request: Awaitable[T]) -> T:
        """Wait for the bucket; its errors become those of docs/api.md, "Errors"."""
        try:
            return await request
        except FileNotFoundError as error:
            raise not_found() from error
        except (OSError, ObstoreError) as error:
            raise self._trouble(error) from error

    async def _pass_on(self, result: "GetResult") -> AsyncIterator[bytes]:
        stream = aiter(result.stream(min_chunk_size=1024 * 1024))
        while (chunk := await self._ask(anext(stream, None))) is not None:
            yield bytes(chunk)

    def _trouble(self, error: Exception) -> errors.RunflowError:
        # Its own text names the request, whose address may hold a signature; the first line does not.
        text = str(error) or repr(error)
        reason = text.splitlines()[0].partition("?")[0][:300]
        cause = _CAUSE.search(text)
        log.error("storage failed", bucket=str(self._bucket), error=reason, cause=cause and cause[1])
        if "RequestTimeTooSkewed" in text:
            what = f"The clocks of this server and of the bucket {self._bucket} are too far apart"
            todo = "set this machine's clock"
        elif isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            what = f"The bucket {self._bucket} refuses this server's credentials"
            todo = "check RUNFLOW_STORAGE_ACCESS_KEY, RUNFLOW_STORAGE_SECRET_KEY and what they may do"
        elif "InvalidCertificate" in text:
            what = f"The certificate of {self._bucket.endpoint}, which has the bucket, is not trusted"
            todo = "name its authority's certificate in RUNFLOW_CA_FILE, or look at its dates, its names and the clock"
        else:
            what = f"The bucket {self._bucket} at {self._bucket.endpoint} cannot be used right now"
            todo = "look at the storage service and at RUNFLOW_STORAGE_ENDPOINT"
        return errors.Unavailable(f"{what}. The operator has to {todo}; then try again.", headers={"Retry-After": "30"})


class _Counted:
    """Bytes on their way in: counted, hashed, and stopped as soon as they are too many."""

    def __init__(self, chunks: AsyncIterator[bytes], limit: int, size_bytes: int | None) -> None:
        self._chunks = chunks
        self._most = limit if size_bytes is None else min(limit, size_bytes)
        self._declared = size_bytes
        self._hash = hashlib.sha256()
        self.size = 0
        self.ended = False

    @property
    def sha256(self) -> str:
        """The hash of what came so far, in hex."""
        return self._hash.hexdigest()

    async def block(self) -> bytes:
        """Return the next bytes, one part's worth where there are so many. Raises what `Storage.put` raises."""
        block = bytearray()
        async for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._most:
                raise too_large(self._most)
            block += chunk
            if len(block) >= PART_BYTES:
                break
        else:
            self.ended = True
            if self._declared is not None and self.size != self._declared:
                raise wrong_size(self.size, self._declared)
        await asyncio.to_thread(self._hash.update, block)
        return bytes(block)

    async def rest(self, first: bytes) -> AsyncIterator[bytes]:
        """Yield that block and all that follow."""
        yield first
        while not self.ended:
            if block := await self.block():
                yield block
