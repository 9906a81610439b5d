"""Values kept in memory within a bound in bytes, the least recently used one leaving first."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class SizedMemory(Generic[KeyT, ValueT]):
    """Values that never change under their key, with about how many bytes each takes."""

    def __init__(self, max_bytes: int) -> None:
        """Keep at most so many bytes; what is larger by itself is not kept at all."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()
        self.size_bytes = 0
        """How many bytes all that is kept takes, as far as those told who put it in."""

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._entries)

    def __contains__(self, key: KeyT) -> bool:
        """Tell whether a value is kept; that is no use of it."""
        return key in self._entries

    def get(self, key: KeyT) -> ValueT | None:
        """Return a value if it is kept; it is the most recently used one now."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: KeyT, value: ValueT, size_bytes: int) -> None:
        """Keep a value that takes about so many bytes, in the place of what its key had."""
        self.drop(key)
        if size_bytes > self._max_bytes:
            return
        self._entries[key] = value, size_bytes
        self.size_bytes += size_bytes
        while self.size_bytes > self._max_bytes:
            _, (_, gone) = self._entries.popitem(last=False)
            self.size_bytes -= gone

    def drop(self, key: KeyT) -> None:
        """Forget a value; nothing happens where it is not kept."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found[1]
