"""Pre-builds of the server: whether it knows them, whether one is worth its while, and in words how far one is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from .platform import DeployFailed, Platform

_NOBODY = "00000000-0000-0000-0000-000000000000"
_PROBE = f"/v1/comfyui-workflows/{_NOBODY}/versions/1/prebuild"
_NOT_ITS_METHOD = 405
_LONGEST_LOG = 6000
_MOST_SOURCES = 20
OVER = ("ready", "failed", "superseded")
"""States after which nothing more comes."""

_AT = {
    "manifest": "reading what the version names",
    "sources": "fetching ComfyUI and the node packs",
    "packages": "finding one set of Python packages for all of it",
    "environment": "installing the Python packages",
    "check": "starting what was built",
    "folder": "making a folder for it",
    "models": "fetching the models",
}
"""What a worker does in each step, as docs/operations.md names them."""


async def knows_prebuilds(platform: Platform) -> bool:
    """Whether the server knows pre-builds. One that does answers at their address that GET is not its method."""
    try:
        await platform.ask("lookup", "GET", _PROBE)
    except DeployFailed as failure:
        return failure.status == _NOT_ITS_METHOD and failure.code is not None
    return False


def needs_preparing(body: Mapping[str, Any]) -> bool:
    """Whether a deployment names something that a machine may have to build or fetch before its first run.

    These are models, files of libraries' caches, and node packs other than this plugin, which every worker has.
    """
    cached = body["environment"].get("cached_models")
    packs = (entry for entry in body["custom_nodes"].values() if not entry.get("plugin"))
    has_cached = isinstance(cached, Mapping) and any(cached.values())
    return bool(body["models"]) or has_cached or any(True for _ in packs)


def describe_prebuild(runtime: Mapping[str, Any], version: str) -> dict[str, Any] | None:
    """What the page shows of a version's pre-build, out of the server's runtime route; None where nobody asked.

    `state` is the server's state_code, or `superseded` where another version serves by now.
    """
    if str(runtime.get("version")) != version:
        text = f"Version {runtime.get('version')} serves by now; what becomes of version {version} is not followed."
        return _told("superseded", "Another version was deployed", text)
    record = runtime.get("prebuild")
    if not isinstance(record, Mapping):
        return None
    state, worker = str(record.get("state_code")), record.get("worker") or "that is at it"
    message = str(record.get("message") or "")
    if state == "ready":
        text = f"The worker {worker} has all that version {version} needs, so its first run waits for none of it."
        return _told(state, "A machine is ready ✓", text)
    if state == "building":
        text = f"The worker {worker}: {message or 'begins.'}"
        return _told(state, "A machine is being prepared", text)
    if state == "failed":
        return _failed(record, message)
    if state == "waiting_for_approval":
        text = "No worker may build this before the operator has approved it:"
        return {**_told(state, "Preparing a machine waits for approval", text), "sources": _sources(runtime)}
    reason = message or str(runtime.get("reason") or "")
    text = reason or "A worker that has no run will take it."
    return _told(state, "A machine will be prepared", text)


def _failed(record: Mapping[str, Any], message: str) -> dict[str, Any]:
    step, pack, worker = (str(record.get(part) or "") for part in ("step", "pack", "worker"))
    at = f"while {_AT[step]}" if step in _AT else f"in the step {step}" if step else ""
    where = " ".join(part for part in (f"on the worker {worker}" if worker else "", at) if part)
    whose = f" The node pack {pack} is at fault." if pack else ""
    text = f"It failed{' ' if where else ''}{where}.{whose} {message}".strip()
    step_next = "Its runs would meet the same. Mend that, then prepare again; what was changed here is deployed first."
    return {**_told("failed", "Preparing a machine failed", text, step_next), "log": _end(str(record.get("log") or ""))}


def _told(state: str, title: str, text: str, next_step: str = "") -> dict[str, Any]:
    return {"state": state, "title": title, "text": text, "next_step": next_step, "log": "", "sources": []}


def _end(log: str) -> str:
    return log if len(log) <= _LONGEST_LOG else "…" + log[-_LONGEST_LOG:]


def _sources(runtime: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = runtime.get("unapproved_sources")
    found = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, Mapping):
            continue
        origin, commit = str(row.get("origin")), str(row.get("commit"))
        command = f"runflow sources approve {shlex.quote(f'{origin}@{commit}')}"
        told = {"name": str(row.get("name")), "origin": origin, "commit": commit, "command": command}
        found.append({**told, "state": str(row.get("state_code"))})
    return found[:_MOST_SOURCES]
