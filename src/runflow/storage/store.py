"""Storage: files behind object keys. Nothing above this package knows a path or a bucket.

`LocalStorage` keeps them on this machine's disk, `S3Storage` in a bucket; `open_storage` chooses by the settings.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, TypeVar

from runflow import errors
from runflow.storage.keys import InvalidKey
from runflow.storage.signed_urls import UrlSigner

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What storage knows of an object. The local disk keeps neither type nor hash: the caller's record does."""

    key: str
    size_bytes: int
    content_type: str | None = None
    sha256: str | None = None
    etag: str | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """How large the disk is on which the files lie, and how much of it is free for them."""

    free_bytes: int
    total_bytes: int


class Storage(ABC):
    """The installation's files.

    Every method raises `Unavailable` when storage cannot be written or read right now (full, read-only, broken, out of
    reach), and `InvalidKey` for a key that could name something outside.
    """

    max_object_bytes: int | None = None
    """The largest file that one signed upload can bring, where the store itself has such a limit."""

    @property
    @abstractmethod
    def signer(self) -> UrlSigner:
        """Checks the URLs that the server itself serves: those of the local disk, also after a move to a bucket."""

    @abstractmethod
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
        """Store the bytes under the key, replacing what was there, whole or not at all.

        Without `replace` what is there stays: the same bytes again are no error, for others `Conflict` is raised.
        Memory stays flat whatever the size. When it returns, the object survives a power cut; with `settle=False` that
        may go on in the background, and `head` waits for it. Raises `PayloadTooLarge` past `limit` bytes,
        `ValidationFailed` when `size_bytes` is given and the size is another one.
        """

    @abstractmethod
    async def head(self, key: str) -> StoredObject | None:
        """Return the object's size and ETag once it is sure to survive a power cut, or None when there is none.

        Ask before a record that names the object is committed.
        """

    @abstractmethod
    async def stat(self, key: str) -> StoredObject | None:
        """Return what `head` does, without waiting for the disk: enough for whoever only wants to read."""

    @abstractmethod
    async def open(self, key: str, start: int | None = None, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to, not including, `end` (default: all). Raises `NotFound`."""

    @abstractmethod
    async def copy(self, source: str, target: str) -> None:
        """Store the object a second time, under the key `target`; later writes to either leave the other alone.

        Raises `NotFound`.
        """

    @abstractmethod
    async def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over."""

    @abstractmethod
    def list(self, prefix: str, *, before: datetime | None = None) -> AsyncIterator[str]:
        """Go through the key of every object below a prefix of whole segments, e.g. `runs/0197…/`, in no order.

        With `before`, only of those that were stored before that time.
        """

    @abstractmethod
    async def examine(self, key: str, look: Callable[[BinaryIO], T]) -> T:
        """Open an object as a blocking, seekable file, give it to `look` in a thread, return what that returns.

        Raises `NotFound`.
        """

    @abstractmethod
    async def ready(self) -> None:
        """Raise `Unavailable` when nothing can be stored right now (the readiness probe)."""

    @abstractmethod
    def upload_url(
        self, base: str, key: str, *, content_type: str, size_bytes: int | None, max_bytes: int, seconds: int
    ) -> str:
        """Return a URL to PUT this object to, for `seconds`: of this type, and of this size where it is known."""

    @abstractmethod
    def new_object_url(
        self, base: str, key: str, *, content_type: str, size_bytes: int | None, max_bytes: int, seconds: int
    ) -> tuple[str, dict[str, str]]:
        """Return a URL as `upload_url` does that never replaces an object, and the headers to send with the PUT.

        Where the store cannot promise that, `sealed` does.
        """

    async def sealed(self, key: str) -> str:
        """Return the key under which this object's bytes stay as they are, whoever still has a `new_object_url` of it.

        The same key, or that of a copy. Raises `NotFound`.
        """
        return key

    @abstractmethod
    def download_url(self, base: str, key: str, *, filename: str | None, content_type: str | None, seconds: int) -> str:
        """Return a URL to GET this object from, for `seconds`, under this name and type."""

    @property
    def takes_content(self) -> bool:
        """Whether small files may come through this server (`keep`) instead of straight from their sender."""
        return False

    async def keep(self, key: str, content: bytes, *, sha256: str) -> None:
        """Store small content under a new key; `head` waits until it is sure to survive a power cut.

        What is stored there already stays: the same content again is no error. Raises `ValidationFailed` for content of
        another hash than `sha256`, `Conflict` where other bytes have the key. Only where `takes_content` says so.
        """
        raise NotImplementedError

    def upload_limit(self, limit: int) -> int:
        """Return how many bytes one signed upload may bring: `limit`, or less where the store takes no more."""
        return limit if self.max_object_bytes is None else min(limit, self.max_object_bytes)

    def limit_source(self, limit: int, setting: str) -> str:
        """Return what to name for `upload_limit(limit)`: the setting that `limit` is, or the store."""
        return setting if self.upload_limit(limit) == limit else "the bucket takes no more in one upload"

    async def check(self) -> None:
        """Raise `Unavailable`, saying what to correct, when files cannot be written, read and removed: at the start."""
        await self.ready()

    async def space(self) -> Space | None:
        """Return how much room is left, None where nobody knows: a bucket has no end."""
        return None

    async def sweep_abandoned(self) -> int:
        """Remove what processes that were killed left half written, and return how many files that were."""
        return 0

    async def close(self) -> None:
        """Stop what works beside the requests."""
        return


def not_found() -> errors.NotFound:
    """Return the error for an object that is not there."""
    return errors.NotFound("There is no such file in storage: it was never uploaded, or it was removed since.")


def too_large(limit: int) -> errors.PayloadTooLarge:
    """Return the error for more bytes than `limit`."""
    return errors.PayloadTooLarge(f"The file is larger than the {limit} bytes that this upload may have.")


def wrong_size(found: int, declared: int) -> errors.ValidationFailed:
    """Return the error for another size than declared."""
    return errors.ValidationFailed(
        f"The file has {found} bytes, but {declared} were declared. Nothing was stored: send the whole file, or "
        "declare its real size."
    )


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Yield the content in one piece."""
    yield content


__all__ = ["InvalidKey", "Space", "Storage", "StoredObject"]
