"""Who may be sent to at the same time. Pure bookkeeping, one per engine.

A receiver that hangs holds each of its slots for the whole time limit; the bounds per host and per organization see to
it that enough slots are left for everyone else.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID


class Candidate(NamedTuple):
    """A delivery that is due."""

    id: UUID
    org_id: UUID
    host: str


@dataclass(slots=True)
class Slots:
    """How many deliveries are on their way, of how many."""

    total: int = 96
    per_org: int = 48
    per_host: int = 16
    _orgs: Counter[UUID] = field(default_factory=Counter)
    _hosts: Counter[str] = field(default_factory=Counter)
    _taken: int = 0

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
        return [host for host, count in self._hosts.items() if count >= self.per_host]

    def choose(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return the candidates that fit, first come first served. Takes nothing yet."""
        chosen: list[Candidate] = []
        orgs, hosts = self._orgs.copy(), self._hosts.copy()
        for candidate in candidates:
            if len(chosen) == self.free:
                break
            if orgs[candidate.org_id] < self.per_org and hosts[candidate.host] < self.per_host:
                orgs[candidate.org_id] += 1
                hosts[candidate.host] += 1
                chosen.append(candidate)
        return chosen

    def take(self, candidate: Candidate) -> None:
        """Occupy a slot."""
        self._taken += 1
        self._orgs[candidate.org_id] += 1
        self._hosts[candidate.host] += 1

    def give_back(self, candidate: Candidate) -> None:
        """Free a slot."""
        self._taken -= 1
        self._orgs[candidate.org_id] -= 1
        self._hosts[candidate.host] -= 1
        if not self._orgs[candidate.org_id]:
            del self._orgs[candidate.org_id]
        if not self._hosts[candidate.host]:
            del self._hosts[candidate.host]
