"""Rules of reading, waiting for and cancelling runs."""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.assets.references import signed_references
from runflow.protocol.failures import TERMINAL
from runflow.queue import cancellation
from runflow.queue.position import Position, position_of
from runflow.queue.unfinished import Unfinished
from runflow.queue.waiting_reason import WaitingReasons
from runflow.queue.watchers import Watchers
from runflow.runs import queries
from runflow.runs.expand import embed as embed_relations
from runflow.runs.queries import OF_WORKFLOW, RUN_LIST
from runflow.runs.records import documents_size, record
from runflow.runs.tables import RunRow
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, envelope, project, read_page
from runflow.web.lists.query import DEFAULT_LIMIT
from runflow.web.services import Services
from runflow.workflows import public
from runflow.workflows.targets import workflow_id_of

POSITION = frozenset({"queue_position", "estimated_wait_seconds"})
"""Fields that are looked up for a run that is read alone: in a list they would cost a look per run."""

LOOK_AGAIN_SECONDS = 2.0
"""How often a waiting caller's run is looked up without a hint: hints may be lost."""


class RunReader:
    """Reads runs for their callers."""

    def __init__(self, services: Services, outlook: WaitingReasons, unfinished: Unfinished) -> None:
        """Read with these parts."""
        self._services = services
        self._outlook = outlook
        self._unfinished = unfinished

    async def get(self, caller: Principal, run_id: UUID, base_url: str, query: RecordQuery, wait: float) -> Any:
        """Return a run; with `wait`, as soon as it is terminal or after that many seconds. Raises `RunNotFound`."""
        row = await self._row(caller, run_id) if wait <= 0 else await self._wait(caller, run_id, wait)
        position = None
        if row.status_code == "queued" and (query.fields is None or POSITION & set(query.fields)):
            position = await position_of(self._services, caller.org_id, run_id)
        return project((await self.records(caller, [row], base_url, query.embed, position=position))[0], query)

    async def ended(self, caller: Principal, run_id: UUID, seconds: float) -> None:
        """Return as soon as a run is terminal, or after so many seconds. Raises `RunNotFound`."""
        await self._wait(caller, run_id, seconds)

    async def list_all(
        self,
        caller: Principal,
        base_url: str,
        query: ListQuery,
        statuses: Collection[str] | None = None,
        workflow: UUID | None = None,
    ) -> dict[str, Any]:
        """Return a page of the organization's runs: of one workflow or of all, with these statuses or with any.

        Only what `fields` needs is read.
        """
        parts = None if query.fields is None else {*query.fields, *query.embed}
        foreign = None
        if OF_WORKFLOW in (query.q or ""):
            foreign = await public.run_by(self._services, caller.org_id)
        base = queries.of_organization(caller.org_id, parts, foreign=foreign)
        if workflow is not None:
            base = queries.of_workflow(base, workflow)
        if statuses is not None:
            base = queries.of_statuses(base, statuses)
        heavy = query.limit > DEFAULT_LIMIT and (parts is None or parts & {"input", "metadata"})
        async with self._services.db.listing(caller.org_id) as transaction:
            found = await read_page(
                transaction,
                RUN_LIST,
                query,
                base,
                row=RunRow,
                size=documents_size if heavy else None,
                at_once=DEFAULT_LIMIT,
            )
        items = await self.records(caller, found.rows, base_url, query.embed, parts)
        return envelope(found, [project(item, query) for item in items])

    async def list_of_workflow(
        self,
        caller: Principal,
        owner: str,
        slug: str,
        base_url: str,
        query: ListQuery,
        statuses: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """Return a page of the caller's runs of a workflow. Raises `WorkflowNotFound`."""
        workflow = await workflow_id_of(self._services, caller, owner, slug)
        return await self.list_all(caller, base_url, query, statuses, workflow)

    async def by_ids(self, caller: Principal, run_ids: list[UUID], base_url: str) -> dict[UUID, dict[str, Any]]:
        """Return the records of those of these runs that the caller's organization has."""
        async with self._services.db.tenant(caller.org_id) as transaction:
            rows = await queries.by_ids(transaction, run_ids)
        return {item["id"]: item for item in await self.records(caller, rows, base_url)}

    async def cancel(self, caller: Principal, run_id: UUID, reason: str | None = None) -> bool:
        """Cancel a run at once, whatever state it is in; its worker stops exactly that prompt.

        Returns False when the run had ended already. Raises `RunNotFound`.
        """
        async with self._services.db.system() as transaction:
            cancelled = await cancellation.cancel_run(
                self._services, transaction, org_id=caller.org_id, run_id=run_id, reason=reason
            )
            if cancelled is None:
                raise errors.RunNotFound
            if not cancelled:
                return False
            details = {"reason": reason} if reason else None
            await recorder.record(transaction, caller, "run.cancelled", "run", run_id, details)
        cancellation.announce(self._services, [run_id])
        return True

    async def records(
        self,
        caller: Principal,
        rows: Sequence[RunRow],
        base_url: str,
        embed: Iterable[str] = (),
        parts: Collection[str] | None = None,
        *,
        position: Position | None = None,
    ) -> list[dict[str, Any]]:
        """Return the wire records of run rows, with fresh URLs and the wanted relations; `position` is the only row's.

        `parts` are the fields that will be shown, where not all are: nothing is looked up for the others.
        """
        shown = [part for row in rows for part in (row.input, row.metadata)]
        signed = await signed_references(self._services, caller, shown, base_url)
        records = []
        for row in rows:
            waiting = None
            if row.status_code == "queued" and (parts is None or "waiting_reason" in parts):
                waiting = await self._outlook.waiting_reason(row)
            records.append(
                record(self._services, base_url, row, waiting_reason=waiting, position=position, signed=signed)
            )
        await embed_relations(self._services, caller, records, embed)
        return records

    async def _row(self, caller: Principal, run_id: UUID) -> RunRow:
        row = await queries.by_id(self._services, caller.org_id, run_id)
        if row is None:
            raise errors.RunNotFound
        return row

    async def _wait(self, caller: Principal, run_id: UUID, seconds: float) -> RunRow:
        deadline = time.monotonic() + seconds
        watchers, hub = self._services.part(Watchers), self._services.hub
        with hub.waiting("run", str(run_id)) as ended, watchers.watching(run_id, queries.read_one) as watcher:
            known = self._unfinished.holds(caller.org_id, run_id) and not self._services.stopping
            while True:
                ended.clear()
                # What a completion has shown is believed of a run that is known to be the caller's.
                row = watcher.row or (None if known else await self._row(caller, run_id))
                known = False
                remaining = deadline - time.monotonic()
                if row is not None and (row.status_code in TERMINAL or remaining <= 0 or self._services.stopping):
                    return row
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(remaining, LOOK_AGAIN_SECONDS)):
                        await ended.wait()
