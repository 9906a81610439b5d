"""Rules of reading logs, node runs and attempts of one run, or with `any` of all runs."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Select

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.runs.history import queries
from runflow.runs.history.queries import ATTEMPT_LIST, LOG_LIST, NODE_RUN_LIST
from runflow.runs.history.schemas import attempt_record, log_record, node_run_record
from runflow.runs.tables import AttemptRow, LogRow, NodeRunRow
from runflow.web.auth import Principal
from runflow.web.lists import (
    ListQuery,
    ListSpec,
    RecordQuery,
    check_projection,
    envelope,
    project,
    read_page,
)
from runflow.web.services import Services

RowT = TypeVar("RowT")


class Runs(Protocol):
    """What embedding runs needs of `RunReader`."""

    async def by_ids(self, caller: Principal, run_ids: list[UUID], base_url: str) -> dict[UUID, dict[str, Any]]:
        """Return the records of these runs."""


class History:
    """Reads what happened in runs, for their callers."""

    def __init__(self, services: Services, runs: Runs) -> None:
        """Read with these parts."""
        self._services = services
        self._runs = runs

    async def logs(self, caller: Principal, run_id: UUID | None, query: ListQuery, base_url: str) -> dict[str, Any]:
        """Return a page of log lines of a run; None: of all runs. Raises `RunNotFound`."""
        base = queries.logs(caller.org_id, run_id)
        found = await self._page(caller, run_id, LOG_LIST, query, base, LogRow, log_record)
        await self._embed_runs(caller, found["items"], query, base_url)
        return _projected(found, query)

    async def log(
        self, caller: Principal, run_id: UUID | None, line: UUID, query: RecordQuery, base_url: str
    ) -> dict[str, Any]:
        """Return one log line of a run, or of any. Raises `RunLogNotFound`."""
        check_projection(query, LOG_LIST.response_fields, LOG_LIST.embeds)
        async with self._services.db.tenant(caller.org_id) as transaction:
            row = await queries.one_log(transaction, caller.org_id, run_id, line)
        if row is None:
            raise errors.RunLogNotFound
        found = log_record(row)
        await self._embed_runs(caller, [found], query, base_url)
        return project(found, query)

    async def node_runs(self, caller: Principal, run_id: UUID | None, query: ListQuery) -> dict[str, Any]:
        """Return a page of node runs of a run; None: of all runs. Raises `RunNotFound`."""
        base = queries.node_runs(caller.org_id, run_id)
        found = await self._page(caller, run_id, NODE_RUN_LIST, query, base, NodeRunRow, node_run_record)
        return _projected(found, query)

    async def node_run(self, caller: Principal, run_id: UUID | None, one: UUID, query: RecordQuery) -> dict[str, Any]:
        """Return one node run of a run, or of any. Raises `NodeRunNotFound`."""
        check_projection(query, NODE_RUN_LIST.response_fields, NODE_RUN_LIST.embeds)
        async with self._services.db.tenant(caller.org_id) as transaction:
            row = await queries.one_node_run(transaction, caller.org_id, run_id, one)
        if row is None:
            raise errors.NodeRunNotFound
        return project(node_run_record(row), query)

    async def attempts(self, caller: Principal, run_id: UUID, query: ListQuery) -> dict[str, Any]:
        """Return a page of attempts. Raises `RunNotFound`."""
        base = queries.attempts(caller.org_id, run_id)
        found = await self._page(caller, run_id, ATTEMPT_LIST, query, base, AttemptRow, attempt_record)
        return _projected(found, query)

    async def _page(
        self,
        caller: Principal,
        run_id: UUID | None,
        spec: ListSpec,
        query: ListQuery,
        base: Select[Any],
        row: type[RowT],
        written: Callable[[RowT], dict[str, Any]],
    ) -> dict[str, Any]:
        async with self._services.db.listing(caller.org_id) as transaction:
            found = await read_page(transaction, spec, query, base, row=row)
            if not found.rows:
                await _require_run(transaction, run_id)
        return envelope(found, [written(one) for one in found.rows])

    async def _embed_runs(
        self, caller: Principal, items: list[dict[str, Any]], query: ListQuery | RecordQuery, base_url: str
    ) -> None:
        if "run" in query.embed and items:
            runs = await self._runs.by_ids(caller, list({item["run_id"] for item in items}), base_url)
            for item in items:
                item["run"] = runs.get(item["run_id"])


async def _require_run(transaction: Transaction, run_id: UUID | None) -> None:
    """An empty list of a run that is not there is a 404. Where there are rows, the run is there."""
    if run_id is not None and not await queries.run_exists(transaction, run_id):
        raise errors.RunNotFound


def _projected(found: dict[str, Any], query: ListQuery) -> dict[str, Any]:
    return {**found, "items": [project(item, query) for item in found["items"]]}
