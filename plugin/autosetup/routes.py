"""The routes of Auto setup: plan, start, answer, cancel, restart. The last plans and the one job are kept here."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused, Routes, read_json
from ..security.access import require_access
from . import restart
from .fetch import Fetcher
from .job import SetupJob, approve
from .plan import Plan, make_plan
from .registry import registry_url
from .sources import Sources

_KEPT = 10
_WHAT = "Auto setup, which installs programs,"

ROUTES = Routes()

_plans: OrderedDict[str, Plan] = OrderedDict()
_jobs: list[SetupJob] = []


@ROUTES.on("POST", "/runflow/autosetup/plans")
async def plan(request: web.Request) -> dict[str, Any]:
    """A plan for `{graph, page_knows, custom_nodes, models}`; the last two say what to look for.

    Raises:
        Refused: there is no graph, or the request comes from somebody else.
    """
    require_access(request, _WHAT)
    body = await read_json(request)
    graph = body.get("graph")
    if not isinstance(graph, dict):
        raise Refused("Send the open workflow as `graph`.", code="INVALID_GRAPH")
    async with Fetcher(Sources()) as fetcher:
        made = await make_plan(
            graph,
            _texts(body, "page_knows"),
            comfyui.Catalogue(),
            fetcher,
            registry_url(),
            packs=body.get("custom_nodes") is True,
            models=body.get("models") is True,
        )
    _plans[made.id] = made
    while len(_plans) > _KEPT:
        _plans.popitem(last=False)
    return made.to_dict()


@ROUTES.on("POST", "/runflow/autosetup/jobs")
async def start(request: web.Request) -> dict[str, Any]:
    """Begin with the approved lines of a plan: `{plan, lines: [ids], pickles: [ids]}`.

    Raises:
        Refused: the plan is not known, nothing of it is approved, or another job is at work.
    """
    require_access(request, _WHAT)
    body = await read_json(request)
    planned = _plans.get(str(body.get("plan")))
    if planned is None:
        raise Refused("This plan is not known any more. Press Start again.", code="NOT_FOUND", status=404)
    if _jobs and _jobs[-1].state == "running":
        raise Refused("Auto setup is at work already.", code="CONFLICT", status=409)
    lines = approve(planned.lines.values(), _texts(body, "lines"), _texts(body, "pickles"))
    if not lines:
        raise Refused("Nothing of the plan is approved.", code="NOTHING_APPROVED")
    del _plans[planned.id]
    job = SetupJob(lines, Sources())
    _jobs[:] = [job]
    job.start()
    return job.describe()


@ROUTES.on("GET", "/runflow/autosetup/jobs/current")
async def current(_request: web.Request) -> dict[str, Any]:
    """The job that is at work or was the last since ComfyUI started, and the name of ComfyUI's process."""
    return {"process": restart.PROCESS, "job": _jobs[-1].describe() if _jobs else None}


@ROUTES.on("POST", "/runflow/autosetup/jobs/current/answers")
async def answer(request: web.Request) -> dict[str, Any]:
    """Take the person's answer about the packages of a pack: `{line, approved}`. Raises Refused."""
    require_access(request, _WHAT)
    body = await read_json(request)
    job = _job()
    if not job.answer(str(body.get("line")), approved=body.get("approved") is True):
        raise Refused("Nothing is asked about this.", code="CONFLICT", status=409)
    return job.describe()


@ROUTES.on("POST", "/runflow/autosetup/jobs/current/cancellation")
async def cancel(request: web.Request) -> dict[str, Any]:
    """End the job. Raises Refused."""
    require_access(request, _WHAT)
    await read_json(request)
    job = _job()
    job.cancel()
    return job.describe()


@ROUTES.on("POST", "/runflow/autosetup/restarts")
async def restart_comfyui(request: web.Request) -> dict[str, Any]:
    """Restart ComfyUI; with `{confirmed: true}` also while it works on something.

    Raises:
        Refused: it works on something, or Auto setup does.
    """
    require_access(request, _WHAT)
    body = await read_json(request)
    if _jobs and _jobs[-1].state == "running":
        raise Refused("Auto setup is still at work. Wait for it, or cancel it.", code="CONFLICT", status=409)
    busy = comfyui.prompts_left()
    if busy and body.get("confirmed") is not True:
        message = f"ComfyUI has {busy} prompt{'s' * (busy > 1)} to execute; a restart drops what is unfinished."
        raise Refused(message, code="BUSY", status=409)
    restart.restart_soon()
    return {"process": restart.PROCESS}


def _job() -> SetupJob:
    if not _jobs:
        raise Refused("There is no Auto setup at work.", code="NOT_FOUND", status=404)
    return _jobs[-1]


def _texts(body: dict[str, Any], field: str) -> frozenset[str]:
    value = body.get(field)
    return frozenset(text for text in value if isinstance(text, str)) if isinstance(value, list) else frozenset()
