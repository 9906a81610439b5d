"""Whether runs may wait for a worker, as far as this process knows: so that a completion does not look for nothing.

Hints of every process tell that runs have entered a lane; a look at the lanes tells that none is left. Like all hints
it carries no truth: whoever looks in vain, or not at all, only asks a moment later.
"""

from runflow.db.notifications import Hub


class Backlog:
    """What a server process knows of the lanes together."""

    def __init__(self, hub: Hub) -> None:
        """Hear through `hub` of runs that wait."""
        self._hub = hub
        self._hints = 0
        self._may_wait = True
        hub.on("lanes", self._told)

    @property
    def may_wait(self) -> bool:
        """Whether a run may be waiting; True while hints do not arrive."""
        return self._may_wait or not self._hub.connected

    @property
    def hints(self) -> int:
        """How many hints came so far: to be noted before a look at the lanes."""
        return self._hints

    def looked(self, hints: int, left: int) -> None:
        """Note that `left` runs wait after a look that began when `hints` had come."""
        if left <= 0 and hints == self._hints:
            self._may_wait = False

    def _told(self, _subject: str) -> None:
        self._hints += 1
        self._may_wait = True
