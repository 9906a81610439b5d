"""A cache of what was read from the database, which lasts until a hint says that it may have changed."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from runflow.db.notifications import Hub

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class HintCache(Generic[KeyT, ValueT]):
    """Values by key, of which a hint on a topic drops some or all. While hints cannot arrive it holds nothing."""

    def __init__(
        self,
        hub: Hub,
        topic: str,
        *,
        lives: Callable[[ValueT], float],
        most: int,
        subject_of: Callable[[KeyT, ValueT], str] | None = None,
    ) -> None:
        """Hear of changes as hints of `hub` on `topic`.

        - `lives`: for how many seconds a value may be used, should a hint be lost without the connection breaking;
          0 for what is not to be remembered.
        - `most`: of more than so many values the least recently used one leaves.
        - `subject_of`: the subject of the hints that drop a value; without it every hint drops all values, as a hint
          with an empty subject does in any case.
        """
        self._hub = hub
        self._lives = lives
        self._most = most
        self._subject_of = subject_of
        self._hints = 0
        self._entries: OrderedDict[KeyT, tuple[ValueT, float]] = OrderedDict()
        hub.on(topic, self._forget)

    def held(self, key: KeyT) -> ValueT | None:
        """Return the value of a key without asking the database; None when that is not enough."""
        found, until = self._entries.get(key, (None, 0.0))
        if found is None or until <= time.monotonic() or not self._hub.connected:
            return None
        self._entries.move_to_end(key)
        return found

    async def get(self, key: KeyT, read: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Return the value of a key: what is held, or else what `read` finds in the database."""
        held = self.held(key)
        if held is not None:
            return held
        hints = self._hints
        found = await read()
        # A change that was heard of meanwhile wins over what was read.
        if hints == self._hints and self._hub.connected:
            self._put(key, found)
        return found

    def _put(self, key: KeyT, value: ValueT) -> None:
        seconds = self._lives(value)
        if seconds <= 0:
            return
        self._entries[key] = value, time.monotonic() + seconds
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def _forget(self, subject: str) -> None:
        self._hints += 1
        if self._subject_of is None or not subject:
            self._entries.clear()
            return
        for key, (value, _) in list(self._entries.items()):
            if self._subject_of(key, value) == subject:
                del self._entries[key]
