"""What a server process knows of the operator's approvals: read again each second, and when one is given or taken."""

from collections.abc import Iterable
from time import monotonic

from runflow.protocol.origins import canonical
from runflow.sources import queries
from runflow.sources.tables import SourceState
from runflow.web.services import Services

TOPIC = "sources"
"""Hints on it tell that a source was approved or revoked."""
WAKES = "eligibility"
"""The topic whose hints let every worker that waits look again (`workflows/runtime/known.py`)."""
REMEMBER_SECONDS = 1.0
MOST_SOURCES = 50_000


def publish(services: Services) -> None:
    """Tell every process that sources were approved or revoked, and let workers that wait look again.

    Call it after the commit.
    """
    services.hub.publish(TOPIC)
    services.hub.publish(WAKES)


class ApprovedSources:
    """The one memory of a process; `services.part(ApprovedSources)` gives it."""

    def __init__(self, services: Services) -> None:
        """Ask this process's database, and hear of changes through its hub."""
        self._services = services
        self._hints = 0
        self._states: dict[tuple[str, str], tuple[SourceState | None, float]] = {}
        services.hub.on(TOPIC, self._forget)

    def _forget(self, _subject: str) -> None:
        self._hints += 1
        self._states.clear()

    async def look_for(self, wanted: Iterable[tuple[str, str]], *, now: bool = False) -> None:
        """Make sure that `state` can tell of these (origin, commit), not older than a second; with `now` as it is."""
        at, hints = monotonic(), self._hints
        keys = {key for one in wanted if (key := _key(*one)) is not None}
        asked = [one for one in keys if now or one not in self._states or self._states[one][1] < at]
        if not asked:
            return
        if len(self._states) > MOST_SOURCES:
            self._states = {one: self._states[one] for one in keys if one in self._states}
        async with self._services.db.system(durable=False) as transaction:
            rows = await queries.states(transaction, asked)
        found = {(row.origin, row.commit): SourceState(row.state_code) for row in rows}
        # A change that was heard of meanwhile may have been missed: it is read again at the next look.
        until = at + REMEMBER_SECONDS if hints == self._hints else at
        for one in asked:
            self._states[one] = found.get(one), until

    def state(self, origin: str, commit: str) -> SourceState | None:
        """Return what became of a source, as it was looked for last; None for one that is not known."""
        key = _key(origin, commit)
        return None if key is None else self._states.get(key, (None, 0.0))[0]

    def is_approved(self, origin: str, commit: str) -> bool:
        """Tell whether the operator approved this commit of this origin, as it was looked for last."""
        return self.state(origin, commit) is SourceState.APPROVED


def _key(origin: str, commit: str) -> tuple[str, str] | None:
    found = canonical(origin)
    return None if found is None else (found, commit.lower())
