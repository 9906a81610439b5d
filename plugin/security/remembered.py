"""Headers that were checked, so that a page of 300 requests costs one hash and not 300."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict


class Remembered:
    """The last headers of one kind, as digests under a key of this process. Headers themselves are not kept.

    Looking one up takes a time that depends on its digest, which nobody outside can compute.
    """

    def __init__(self, most: int) -> None:
        """Remember at most so many."""
        self._most = most
        self._key = secrets.token_bytes(32)
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, header: str) -> bool:
        """Whether this header is remembered."""
        digest = self.digest(header)
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._digests)

    def add(self, header: str) -> None:
        """Remember a header; the one that was not seen for the longest time may go."""
        self._digests[self.digest(header)] = None
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def forget(self) -> None:
        """Forget all, the key included."""
        self._digests.clear()
        self._key = secrets.token_bytes(32)

    def digest(self, header: str) -> bytes:
        """The keyed digest of a header."""
        return hmac.digest(self._key, header.encode("utf-8", "surrogatepass"), hashlib.sha256)
