"""How many requests a key may send, and how many wrong tokens an address, on this server process.

The generic cell rate algorithm: each name has one time at which its allowance is full again; a request moves it by one
interval, and is refused where that would be further ahead of now than a burst. Exact, one number per name, no ticks.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Network

from runflow import errors

BURST_SECONDS = 2
"""A key that rested may send so many seconds' worth of requests at once."""
WRONG_TOKENS_PER_SECOND = 1.0
WRONG_TOKENS_BURST = 30
"""Wrong tokens that one address may send at once; after them one per second."""
WAIT_AGAIN_SECONDS = 5
"""When to come again where an organization has no place left to wait."""
MAX_NAMES = 20_000
"""More names than this are looked through for those whose allowance is full again."""


class RateLimit:
    """Allowances of many names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Use `clock`, in seconds."""
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}

    def take(self, name: Hashable, rate: float, burst: float) -> float:
        """Take one of `rate` per second, `burst` at once; return 0, or the seconds until one is to be had."""
        now = self._clock()
        full_at = self._full_at.get(name, now)
        if full_at < now:
            full_at = now
        # Compared after the addition, so that a burst of n is n requests, whatever the rounding.
        ahead = full_at - now + 1 / rate
        wait = ahead - burst / rate
        if wait > 1e-9:
            return wait
        if name not in self._full_at and len(self._full_at) >= MAX_NAMES:
            self._forget_full(now)
        self._full_at[name] = now + ahead
        return 0.0

    def wait(self, name: Hashable, rate: float, burst: float) -> float:
        """Return what `take` would, and take nothing."""
        now = self._clock()
        return max(0.0, self._full_at.get(name, now) - now + (1 - burst) / rate)

    def full_after(self, name: Hashable) -> float:
        """Return the seconds until the allowance is full again."""
        now = self._clock()
        return max(0.0, self._full_at.get(name, now) - now)

    def _forget_full(self, now: float) -> None:
        self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}


class RateLimits:
    """The limits of one server process. `per_second` 0 switches those off for which no key has one of its own."""

    def __init__(self, per_second: int, most_waiting: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Limit each key to `per_second` requests (RUNFLOW_RATE_LIMIT), and how many wait (RUNFLOW_MAX_WAITING)."""
        self._per_second = per_second
        self._most_waiting = most_waiting
        self._waiting: Counter[Hashable] = Counter()
        self._keys = RateLimit(clock)
        self._strangers = RateLimit(clock)

    def check_key(self, key: Hashable, own: int | None) -> None:
        """Count a request of a key whose own limit is `own`. Raises `RateLimited`."""
        rate = own or self._per_second
        if not rate:
            return
        burst = rate * BURST_SECONDS
        wait = self._keys.take(key, rate, burst)
        if wait:
            raise _limited(f"this API key may send {rate} requests per second", wait, burst, self._keys.full_after(key))

    @contextmanager
    def waiting(self, organization: Hashable) -> Iterator[None]:
        """Hold one of an organization's places for requests that stay open. Raises `RateLimited` if none is left."""
        if self._most_waiting and self._waiting[organization] >= self._most_waiting:
            raise errors.RateLimited(
                f"Rate limit exceeded: {self._most_waiting} event streams and waiting requests of your organization "
                "are open on this server (RUNFLOW_MAX_WAITING). End some, or try again in "
                f"{WAIT_AGAIN_SECONDS} seconds.",
                headers={"Retry-After": str(WAIT_AGAIN_SECONDS)},
            )
        self._waiting[organization] += 1
        try:
            yield
        finally:
            self._waiting[organization] -= 1
            if not self._waiting[organization]:
                del self._waiting[organization]

    def check_stranger(self, address: str | None) -> None:
        """Raise `RateLimited` when an address has sent too many wrong tokens: its next ones are not looked up."""
        if not self._per_second:
            return
        network = _network(address)
        wait = self._strangers.wait(network, WRONG_TOKENS_PER_SECOND, WRONG_TOKENS_BURST)
        if wait > 1e-9:
            full = self._strangers.full_after(network)
            raise _limited("too many requests with wrong tokens from this address", wait, WRONG_TOKENS_BURST, full)

    def count_wrong_token(self, address: str | None) -> None:
        """Count a token that is unknown, expired or revoked."""
        if self._per_second:
            self._strangers.take(_network(address), WRONG_TOKENS_PER_SECOND, WRONG_TOKENS_BURST)


def _network(address: str | None) -> str | None:
    """Return what one stranger has: an IPv4 address, or the 2^64 IPv6 addresses that a connection comes with."""
    if address is None or ":" not in address:
        return address
    try:
        return str(IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def _limited(what: str, wait: float, burst: int, full_after: float) -> errors.RateLimited:
    seconds = max(1, math.ceil(wait))
    return errors.RateLimited(
        f"Rate limit exceeded: {what}. Try again in {seconds} second{'s' if seconds > 1 else ''}.",
        headers={
            "Retry-After": str(seconds),
            "X-RateLimit-Limit": str(burst),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(math.ceil(time.time() + full_after)),
        },
    )
