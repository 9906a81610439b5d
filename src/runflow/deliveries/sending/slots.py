"""Who may be sent to at the same time. Pure bookkeeping, one per sender.

A receiver that hangs holds each of its slots for the whole time limit; the bounds per host and per organization see to
it that enough slots are left for everyone else. Who was seen to hang gets fewer, so that many of them harm nobody.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

MAX_REMEMBERED = 10_000
"""Hosts that hang. Forgetting them all costs each a time limit."""


class Candidate(NamedTuple):
    """A delivery that is due; `size` of its payload in bytes."""

    id: UUID
    org_id: UUID
    host: str
    size: int


@dataclass(slots=True)
class Slots:
    """How many deliveries are on their way, and how many bytes of payloads in memory, of how many."""

    total: int = 96
    per_org: int = 48
    per_host: int = 16
    per_hanging_host: int = 2
    total_bytes: int = 128 * 1024 * 1024
    bytes_per_org: int = 32 * 1024 * 1024
    _taken: int = 0
    _bytes: int = 0
    _orgs: Counter[UUID] = field(default_factory=Counter)
    _hosts: Counter[str] = field(default_factory=Counter)
    _org_bytes: Counter[UUID] = field(default_factory=Counter)
    _hanging: set[str] = field(default_factory=set)

    @property
    def free(self) -> int:
        """How many more may be sent, if to the right receivers."""
        return self.total - self._taken

    @property
    def full_orgs(self) -> list[UUID]:
        """Organizations that have to wait."""
        return [org_id for org_id, count in self._orgs.items() if count >= self.per_org]

    @property
    def full_hosts(self) -> list[str]:
        """Hosts that have to wait."""
        return [host for host, count in self._hosts.items() if count >= self._limit(host)]

    def note(self, host: str, *, hangs: bool) -> None:
        """Remember whether a host let the last attempt run into its time limit."""
        if not hangs:
            self._hanging.discard(host)
            return
        if len(self._hanging) >= MAX_REMEMBERED:
            self._hanging.clear()
        self._hanging.add(host)

    def choose(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return the candidates that fit, first come first served. Takes nothing."""
        after = replace(self, _orgs=self._orgs.copy(), _hosts=self._hosts.copy(), _org_bytes=self._org_bytes.copy())
        chosen = []
        for candidate in candidates:
            if after._fits(candidate):
                after.take(candidate)
                chosen.append(candidate)
        return chosen

    def _fits(self, candidate: Candidate) -> bool:
        return (
            self._taken < self.total
            and self._orgs[candidate.org_id] < self.per_org
            and self._hosts[candidate.host] < self._limit(candidate.host)
            # A payload beyond the bound goes alone.
            and (not self._bytes or self._bytes + candidate.size <= self.total_bytes)
            and (
                not self._org_bytes[candidate.org_id]
                or self._org_bytes[candidate.org_id] + candidate.size <= self.bytes_per_org
            )
        )

    def _limit(self, host: str) -> int:
        return min(self.per_host, self.per_hanging_host) if host in self._hanging else self.per_host

    def take(self, candidate: Candidate) -> None:
        """Occupy a slot."""
        self._count(candidate, 1)

    def give_back(self, candidate: Candidate) -> None:
        """Free a slot."""
        self._count(candidate, -1)
        if not self._orgs[candidate.org_id]:
            del self._orgs[candidate.org_id]
            del self._org_bytes[candidate.org_id]
        if not self._hosts[candidate.host]:
            del self._hosts[candidate.host]

    def _count(self, candidate: Candidate, sign: int) -> None:
        self._taken += sign
        self._bytes += sign * candidate.size
        self._orgs[candidate.org_id] += sign
        self._hosts[candidate.host] += sign
        self._org_bytes[candidate.org_id] += sign * candidate.size
