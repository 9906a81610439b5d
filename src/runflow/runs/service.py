"""Rules of reading, waiting for and cancelling runs."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.assets import service as assets
from runflow.runs import queries, references
from runflow.runs.failures import TERMINAL
from runflow.runs.listing import RUN_LIST
from runflow.runs.queue import queries as queue
from runflow.runs.queue.ending import Ending, run_ended, something_follows
from runflow.runs.record import attempt_record, log_record, node_run_record, record
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, build, envelope, page, project
from runflow.workers.outlook import Outlook
from runflow.workflows.dispatch import workflow_id_of

LOOK_AGAIN_SECONDS = 2.0
"""How often a waiting caller's run is looked up without a hint: hints may be lost."""


class RunReader:
    """Reads runs for their callers."""

    def __init__(self, services: Services, outlook: Outlook) -> None:
        """Read with these parts."""
        self._services = services
        self._outlook = outlook

    async def get(self, caller: Principal, run_id: UUID, base_url: str, query: RecordQuery, wait: float) -> Any:
        """Return a run; with `wait`, as soon as it is terminal or after that many seconds. Raises `RunNotFound`."""
        row = await self._row(caller, run_id) if wait <= 0 else await self._wait(caller, run_id, wait)
        return project((await self.records(caller, [row], base_url, query.embed))[0], query)

    async def list_of_workflow(
        self, caller: Principal, owner: str, slug: str, base_url: str, query: ListQuery
    ) -> dict[str, Any]:
        """Return a page of the caller's runs of a workflow. Raises `WorkflowNotFound`."""
        workflow = await workflow_id_of(self._services, caller, owner, slug)
        base = queries.of_workflow(workflow)
        async with self._services.db.tenant(caller.org_id) as connection:
            rows = list(await connection.execute(build(RUN_LIST, query, base)))
        found = page(RUN_LIST, query, rows)
        items = await self.records(caller, found.rows, base_url, query.embed)
        return envelope(found, [project(item, query) for item in items])

    async def cancel(self, caller: Principal, run_id: UUID) -> bool:
        """Cancel a run at once, whatever state it is in; its worker stops exactly that prompt.

        Returns False when the run had ended already. Raises `RunNotFound`.
        """
        await self._row(caller, run_id)
        async with self._services.db.system_pipeline() as connection:
            run = await queue.for_cancellation(connection, run_id)
            if run is None or run.org_id != caller.org_id:
                raise errors.RunNotFound
            if run.status_code in TERMINAL:
                return False
            ended = await queue.cancel(connection, run=run_id, lane=run.lane_id, queued=run.status_code == "queued")
            if something_follows(run):
                await run_ended(self._services, connection, Ending(run, "cancelled", ended))
        self._services.hub.publish("run", str(run_id))
        self._services.hub.publish("cancelled", str(run_id))
        if something_follows(run):
            self._services.hub.publish("delivery")
        return True

    async def records(
        self, caller: Principal, rows: Sequence[Any], base_url: str, embed: Iterable[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the wire records of run rows, with fresh URLs and the wanted relations."""
        signed = await self._signed(caller, rows, base_url)
        records = []
        for row in rows:
            waiting = None
            if row.status_code == "queued":
                waiting = await self._outlook.waiting_reason(row.gpu_class)
            records.append(record(self._services, base_url, row, waiting_reason=waiting, signed=signed))
        await self._embed(caller, records, frozenset(embed))
        return records

    async def _embed(self, caller: Principal, records: list[dict[str, Any]], embed: frozenset[str]) -> None:
        relations = {"node_runs": (queries.node_runs, node_run_record), "logs": (queries.logs, log_record)}
        relations["attempts"] = (queries.attempts, attempt_record)
        ids = [item["id"] for item in records]
        for name in embed:
            if name not in relations:
                for item in records:
                    item[name] = None
                continue
            read, written = relations[name]
            by_run: dict[UUID, list[dict[str, Any]]] = {run: [] for run in ids}
            async with self._services.db.tenant(caller.org_id) as connection:
                for row in await read(connection, ids):
                    by_run[row.run_id].append(written(row))
            for item in records:
                item[name] = by_run[item["id"]]

    async def _signed(self, caller: Principal, rows: Sequence[Any], base_url: str) -> dict[UUID, str]:
        wanted = {asset for row in rows for _, asset in references.found_in([row.input, row.metadata])}
        if not wanted:
            return {}
        async with self._services.db.tenant(caller.org_id) as connection:
            found = await assets.resolve(connection, wanted)
        return {
            asset: self._services.storage.download_url(
                base_url,
                file.object_key,
                filename=file.filename,
                content_type=file.mime_type,
                seconds=self._services.settings.output_url_seconds,
            )
            for asset, file in found.items()
        }

    async def _row(self, caller: Principal, run_id: UUID) -> Any:
        row = await queries.by_id(self._services, caller.org_id, run_id)
        if row is None:
            raise errors.RunNotFound
        return row

    async def _wait(self, caller: Principal, run_id: UUID, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        with self._services.hub.waiting("run", str(run_id)) as ended:
            while True:
                ended.clear()
                row = await self._row(caller, run_id)
                remaining = deadline - time.monotonic()
                if row.status_code in TERMINAL or remaining <= 0 or self._services.stopping:
                    return row
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(remaining, LOOK_AGAIN_SECONDS)):
                        await ended.wait()
