"""Golden runs of the server: which examples a workflow keeps, and in words how the test of a version goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .platform import DeployFailed, Platform

_MOST_EXAMPLES = 20
_ENDED = {"failed": "failed", "cancelled": "was stopped", "superseded": "was overtaken by a newer version"}


async def example_names(platform: Platform, existing: Mapping[str, Any] | None) -> list[str]:
    """The names of a workflow's examples; none of a new workflow, or where the server knows of none."""
    if existing is None:
        return []
    path = f"{_place(str(existing.get('id')))}/examples?limit={_MOST_EXAMPLES}"
    try:
        listed = (await platform.ask("lookup", "GET", path)).get("items")
    except DeployFailed:
        return []
    rows = listed if isinstance(listed, list) else []
    return [str(row["name"]) for row in rows if isinstance(row, dict) and row.get("name")]


async def latest(platform: Platform, existing: Mapping[str, Any]) -> str:
    """The id of a workflow's latest golden run, to tell a new one from it; empty where there is none."""
    whole = await platform.ask("lookup", "GET", _place(str(existing.get("id"))))
    run = whole.get("golden_run")
    return str(run.get("id")) if isinstance(run, dict) else ""


async def describe_golden(platform: Platform, workflow_id: str, golden_id: str) -> dict[str, Any]:
    """What the page shows of a golden run: state, title, how each example stands, why it did not pass, what to do.

    Raises:
        DeployFailed: the server does not answer, or knows no such golden run any more.
    """
    run = await platform.ask("lookup", "GET", f"{_place(workflow_id)}/golden-runs/{quote(golden_id, safe='')}")
    state, version = str(run.get("status_code")), str(run.get("version"))
    rows = [row for row in _list(run, "examples") if isinstance(row, dict)]
    examples = [{"name": str(row.get("name")), "text": _standing(row)} for row in rows]
    if state == "running":
        told = _told(
            state, version, f"Version {version} is being tested", "It serves once every example has succeeded."
        )
        waiting = await _waiting(platform, rows)
        return {**told, "examples": examples, "reasons": [waiting] if waiting else []}
    if state == "passed":
        return {**_told(state, version, f"Version {version} passed its test and serves ✓"), "examples": examples}
    reasons = [str(row.get("message")) for row in _list(run, "reasons") if isinstance(row, dict)]
    how = _ENDED.get(state, state)
    told = _told(state, version, f"Version {version} does not serve: its test {how}", "What served before goes on.")
    step = f"Mend it and deploy again. Or let it serve all the same: POST …/promotions with version {version}."
    return {**told, "examples": examples, "reasons": reasons, "next_step": step if state != "superseded" else ""}


async def stop_golden(platform: Platform, workflow_id: str, golden_id: str) -> None:
    """Stop a golden run; what served goes on. Raises DeployFailed."""
    path = f"{_place(workflow_id)}/golden-runs/{quote(golden_id, safe='')}/cancellation"
    await platform.ask("stop", "POST", path, {})


def _place(workflow_id: str) -> str:
    return f"/v1/comfyui-workflows/{quote(workflow_id, safe='')}"


def _list(record: Mapping[str, Any], field: str) -> list[Any]:
    found = record.get(field)
    return found if isinstance(found, list) else []


def _standing(row: Mapping[str, Any]) -> str:
    status = row.get("status_code")
    if not status:
        return "not dispatched yet"
    failed = row.get("failure_code")
    return f"{status} ({failed})" if failed else str(status)


async def _waiting(platform: Platform, rows: list[dict[str, Any]]) -> str:
    """Why the first example that waits does so, in the server's words; empty where none does, or nothing is said."""
    queued = next((row for row in rows if row.get("status_code") == "queued" and row.get("run_id")), None)
    if queued is None:
        return ""
    try:
        run = await platform.ask("lookup", "GET", f"/v1/runs/{quote(str(queued['run_id']), safe='')}")
    except DeployFailed:
        return ""  # a key that may not read runs
    reason = run.get("waiting_reason")
    return f"{queued.get('name')}: {reason}" if reason else ""


def _told(state: str, version: str, title: str, text: str = "") -> dict[str, Any]:
    told = {"state": state, "version": version, "title": title, "text": text, "next_step": ""}
    return {**told, "examples": [], "reasons": []}
