"""Runs of which this process knows without a look that they have not ended: it queued them, and would have heard.

Most callers wait for a run right after they dispatched it; their first look into the database would tell them nothing.
What is known here is a hint's absence, so it counts only while hints arrive, and whoever waits looks from time to time.
"""

from collections import OrderedDict
from uuid import UUID

from runflow.db.notifications import Hub

MAX_RUNS = 10_000
"""So many are remembered; forgetting one only costs a look."""


class Unfinished:
    """The runs that a server process queued, until it hears of their end."""

    def __init__(self, hub: Hub) -> None:
        """Hear of ends through `hub`."""
        self._hub = hub
        self._runs: OrderedDict[UUID, UUID] = OrderedDict()
        hub.on("run", self._ended)

    def queued(self, org_id: UUID, run_id: UUID) -> None:
        """Note a run that is about to be committed."""
        self._runs[run_id] = org_id
        if len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)

    def forget(self, run_id: UUID) -> None:
        """Know nothing of a run (any more)."""
        self._runs.pop(run_id, None)

    def holds(self, org_id: UUID, run_id: UUID) -> bool:
        """Tell whether this organization's run is known to be unfinished."""
        return self._hub.connected and self._runs.get(run_id) == org_id

    def _ended(self, subject: str) -> None:
        if subject:
            self._runs.pop(UUID(subject), None)
        else:
            self._runs.clear()
