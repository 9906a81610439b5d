"""How often an address has guessed wrong, and how long it has to wait before the next guess."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE = 5
"""Guesses without a wait."""
LONGEST_WAIT = 300.0
"""Seconds."""
_FORGET_AFTER = 3600.0
_MOST_ADDRESSES = 2048


@dataclass
class _Record:
    count: int
    last: float
    until: float


class LoginThrottle:
    """Five free guesses for each address, then waits of 1, 2, 4 … 300 seconds; forgotten after an hour of quiet.

    It keeps the 2048 addresses that guessed last. An IPv6 network of 64 bits counts as one address: everybody has one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with none."""
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def wait(self, address: str) -> int:
        """The whole seconds until this address may guess; 0: now."""
        record = self._records.get(_network(address))
        return max(0, math.ceil(record.until - self._clock())) if record else 0

    def begin(self, address: str) -> None:
        """Count a guess before its outcome is known, so that many at once do not slip through."""
        network, now = _network(address), self._clock()
        record = self._records.pop(network, None)
        if record is None or now - record.last > _FORGET_AFTER:
            record = _Record(0, now, now)
        record.count += 1
        record.last = now
        if record.count >= FREE:
            record.until = now + min(2.0 ** (record.count - FREE), LONGEST_WAIT)
        self._records[network] = record
        while len(self._records) > _MOST_ADDRESSES:
            self._records.popitem(last=False)

    def right(self, address: str) -> None:
        """Forget the guesses of an address that knows the password."""
        self._records.pop(_network(address), None)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
