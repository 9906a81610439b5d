"""Relations of runs: read for all runs of an answer at once, only where `embed` names them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from runflow.runs import queries
from runflow.runs.history import queries as history
from runflow.runs.history.schemas import attempt_record, log_record, node_run_record
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import records as workflow_record

MAX_LOG_LINES = 1000
"""Last log lines that `embed=logs` gives per run; the list of logs has them all."""


async def embed(services: Services, caller: Principal, records: list[dict[str, Any]], names: Iterable[str]) -> None:
    """Add these relations to run records; `model` and `flow` are for clients that expect them, and null."""
    ids = [item["id"] for item in records]
    for name in set(names):
        if name == "comfyui_workflow":
            await _workflows(services, caller, records)
        elif name in ("node_runs", "logs", "attempts"):
            found = await _of_runs(services, caller, name, ids)
            for item in records:
                item[name] = found[item["id"]]
        else:
            for item in records:
                item[name] = None


async def _of_runs(services: Services, caller: Principal, name: str, ids: list[UUID]) -> dict[UUID, list[Any]]:
    by_run: dict[UUID, list[Any]] = {run: [] for run in ids}
    async with services.db.tenant(caller.org_id) as connection:
        if name == "node_runs":
            rows, written = await history.node_runs_of(connection, ids), node_run_record
        elif name == "attempts":
            rows, written = await history.attempts_of(connection, ids), attempt_record
        else:
            rows, written = await history.logs_of(connection, ids, MAX_LOG_LINES), log_record
    for row in rows:
        by_run[row.run_id].append(written(row))
    return by_run


async def _workflows(services: Services, caller: Principal, records: list[dict[str, Any]]) -> None:
    """Own workflows, deleted ones included; another organization's is null: read it by its path."""
    ids = list({item["comfyui_workflow_id"] for item in records})
    async with services.db.tenant(caller.org_id) as connection:
        rows = await queries.workflows_of(connection, ids)
        found = await workflow_record.complete(connection, rows, caller.org_slug, ())
    by_id = {workflow["id"]: workflow for workflow in found}
    for item in records:
        item["comfyui_workflow"] = by_id.get(item["comfyui_workflow_id"])
