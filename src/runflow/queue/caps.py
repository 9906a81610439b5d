"""What a process knows of caps: workflows and organizations of which only so many runs are worked on at a time.

The claim's transaction decides, with counts that others cannot change meanwhile (`has_room` in SQL). This is so that
nobody asks in vain: lanes without room are kept out of the lineup, and looked at again once a place is free.
"""

from collections.abc import Mapping
from uuid import UUID

from runflow.queue.lane_queries import WaitingLane
from runflow.queue.rows import HeldRun
from runflow.web.services import Services
from runflow.workflows.service import ROOM


def announce_room(services: Services, held: HeldRun) -> None:
    """Tell that a run is not worked on any more, to whoever has runs that wait for its place."""
    if held.is_capped:
        services.hub.publish(ROOM, str(held.comfyui_workflow_id))
    if services.settings.max_running is not None:
        services.hub.publish(ROOM, str(held.org_id))


def rooms_of(row: WaitingLane) -> dict[UUID, int]:
    """Return how many more runs of the lane may be worked on, by workflow and organization that say so."""
    found = {row.workflow_id: row.workflow_room, row.org_id: row.organization_room}
    return {cap: room for cap, room in found.items() if cap is not None and room is not None}


class Caps:
    """The waiting lanes under caps, and how much room each cap leaves, as far as is known."""

    def __init__(self) -> None:
        """Begin without any."""
        self._rooms: dict[UUID, int] = {}
        self._under: dict[UUID, set[UUID]] = {}
        self._of_lane: dict[UUID, tuple[UUID, ...]] = {}

    @property
    def lanes(self) -> set[UUID]:
        """The waiting lanes that are under a cap."""
        return set(self._of_lane)

    def note(self, lane: UUID, rooms: Mapping[UUID, int]) -> bool:
        """Remember what was read of a waiting lane; return whether a run of it may be worked on."""
        if not rooms and lane not in self._of_lane:
            return True
        self.forget(lane)
        if rooms:
            self._of_lane[lane] = tuple(rooms)
        for cap, room in rooms.items():
            self._rooms[cap] = room
            self._under.setdefault(cap, set()).add(lane)
        return all(room > 0 for room in rooms.values())

    def forget(self, lane: UUID) -> None:
        """Forget a lane; nothing happens where it is under no cap."""
        for cap in self._of_lane.pop(lane, ()):
            lanes = self._under[cap]
            lanes.discard(lane)
            if not lanes:
                del self._under[cap], self._rooms[cap]

    def taken(self, lane: UUID) -> set[UUID]:
        """Count a run of a lane that is about to be claimed; return the lanes that have no room after it."""
        full: set[UUID] = set()
        for cap in self._of_lane.get(lane, ()):
            self._rooms[cap] -= 1
            if self._rooms[cap] <= 0:
                full |= self._under[cap]
        return full

    def beside(self, lane: UUID) -> set[UUID]:
        """Return the lanes that share a cap with this one."""
        return {other for cap in self._of_lane.get(lane, ()) for other in self._under[cap]}

    def under(self, cap: UUID) -> set[UUID]:
        """Return the waiting lanes under a cap."""
        return set(self._under.get(cap, ()))
