"""What is true of a run only at this moment: where it stands in its lane, and what its running node shows.

These events have no number: who comes back later has missed nothing by them. A row of `run_previews` is there while
somebody wants pictures; by it the worker is asked to send some (`queue/leases.py`), on whatever process it calls.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from runflow.queue.position import position_of
from runflow.runs.history import queries
from runflow.web.event_stream import momentary_event
from runflow.web.services import Services

POSITION_SECONDS = 2.0
"""How often one listener's run is looked up in its lane."""
WATCH_SECONDS = 20.0
"""How long pictures are sent for a listener who was last seen then."""
WATCH_AGAIN_SECONDS = 5.0


class Momentary:
    """The momentary events of one listener. `close` when it leaves."""

    def __init__(self, services: Services, org_id: UUID, run_id: UUID, *, previews: bool) -> None:
        """Tell of this run; with `previews`, of the pictures too."""
        self._services = services
        self._org_id = org_id
        self._run_id = run_id
        self._wants_previews = previews
        self._status: str | None = None
        self._position: dict[str, Any] | None = None
        self._position_at = 0.0
        self._watch_at = 0.0
        self._seen = 0

    def heard(self, status: str | None) -> None:
        """Note the run's status, where the listener was told of one."""
        self._status = status or self._status

    async def news(self) -> bytes:
        """Return what is new as Server-Sent Events, empty when nothing is."""
        return b"".join([await self._place(), await self._picture()])

    async def close(self) -> None:
        """Let the worker send no more pictures, unless somebody else looks on and says so again."""
        if self._watch_at:
            async with self._services.db.tenant(self._org_id) as transaction:
                await queries.watch_no_more(transaction, self._run_id)

    async def _place(self) -> bytes:
        now = time.monotonic()
        if self._status not in (None, "queued") or now - self._position_at < POSITION_SECONDS:
            return b""
        self._position_at = now
        found = await position_of(self._services, self._org_id, self._run_id)
        position = None if found is None else asdict(found)
        if position is None or position == self._position:
            return b""
        self._position = position
        return self._written("queue", position)

    async def _picture(self) -> bytes:
        if not self._wants_previews or self._status == "queued":
            return b""
        now = time.monotonic()
        async with self._services.db.tenant(self._org_id) as transaction:
            if not self._watch_at or now - self._watch_at >= WATCH_AGAIN_SECONDS:
                self._watch_at = now
                await queries.watch(transaction, self._run_id, WATCH_SECONDS)
            row = await queries.preview(transaction, self._run_id, self._seen)
        if row is None:
            return b""
        self._seen = row.number
        picture = {
            "node_id": row.node_id,
            "node_type": row.node_type,
            "content_type": row.content_type,
            "image": f"data:{row.content_type};base64,{row.content}",
        }
        return self._written("preview", picture)

    def _written(self, type_: str, data: Mapping[str, Any]) -> bytes:
        return momentary_event(type_, {**data, "run_id": str(self._run_id)})
