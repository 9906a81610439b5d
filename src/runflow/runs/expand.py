"""Relations of runs: read for all runs of an answer at once, only where `embed` names them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from runflow.runs.history import queries as history
from runflow.runs.history.schemas import attempt_record, log_record, node_run_record
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import queries as workflows
from runflow.workflows import records as workflow_record

MAX_LOG_LINES = 1000
"""Last log lines that `embed=logs` gives per run; the list of logs has them all."""


async def embed(services: Services, caller: Principal, records: list[dict[str, Any]], names: Iterable[str]) -> None:
    """Add these relations to run records; `flow` is for clients that expect it, and null, and `model` is a field."""
    ids = [item["id"] for item in records]
    for name in set(names):
        if name == "comfyui_workflow":
            await _workflows(services, caller, records)
        elif name in ("node_runs", "logs", "attempts"):
            found = await _of_runs(services, caller, name, ids)
            for item in records:
                item[name] = found[item["id"]]
        elif name != "model":
            for item in records:
                item[name] = None


async def _of_runs(services: Services, caller: Principal, name: str, ids: list[UUID]) -> dict[UUID, list[Any]]:
    by_run: dict[UUID, list[Any]] = {run: [] for run in ids}
    async with services.db.tenant(caller.org_id) as transaction:
        if name == "node_runs":
            for node_run in await history.node_runs_of(transaction, ids):
                by_run[node_run.run_id].append(node_run_record(node_run))
        elif name == "attempts":
            for attempt in await history.attempts_of(transaction, ids):
                by_run[attempt.run_id].append(attempt_record(attempt))
        else:
            for line in await history.logs_of(transaction, ids, MAX_LOG_LINES):
                by_run[line.run_id].append(log_record(line))
    return by_run


async def _workflows(services: Services, caller: Principal, records: list[dict[str, Any]]) -> None:
    """Own workflows, deleted ones included; another organization's is null: read it by its path."""
    ids = list({item["comfyui_workflow_id"] for item in records})
    async with services.db.tenant(caller.org_id) as transaction:
        rows = await workflows.by_ids(transaction, ids)
        found = await workflow_record.complete(transaction, rows, caller.org_slug, ())
    by_id = {workflow["id"]: workflow for workflow in found}
    for item in records:
        item["comfyui_workflow"] = by_id.get(item["comfyui_workflow_id"])
