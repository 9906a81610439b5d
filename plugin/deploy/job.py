"""One press of Deploy: prepared, shown to the person, agreed to, sent. The page follows by events, or by asking."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import comfyui
from ..answers import Refused
from ..cancellation import Cancelled
from ..graph import curl_command
from ..manifest.resources import InputFile
from .aftermath import Published
from .approval import approvable
from .endpoint import next_version, published_interface
from .golden import example_names, latest
from .model_upload import LocalModel, Offer, offers, send_model
from .plan import Machine, Plan, make_plan
from .platform import DeployFailed, Platform
from .prebuild import knows_prebuilds, needs_preparing
from .target import Target

EVENT = "runflow.deploy"
_EVENT_SECONDS = 0.1
_LONG_ENOUGH_TO_SEARCH = 8


@dataclass(frozen=True)
class Agreed:
    """What the person agreed to beside the deployment: each only where the summary offered it.

    `approve`: the code that was shown. `prebuild`: a worker prepares the version. `golden`: it is tested with the
    workflow's examples before it serves; its runs prepare a machine then.
    """

    approve: bool = False
    prebuild: bool = False
    golden: bool = False


class DeployJob:
    """A deployment. `state`: preparing, ready (waits for the person), sending, choosing (waits for the person: which
    models to upload), done, failed, cancelled.
    """

    def __init__(self, target: Target, client_id: str | None) -> None:
        self.id = secrets.token_hex(8)
        self.state = "preparing"
        self.target = target
        self.plan: Plan | None = None
        """What is ready to be sent; dropped when the job is over, because it is large."""
        self.task: asyncio.Task[None] | None = None
        self.cancelled = threading.Event()
        self.published_perhaps = False
        """Whether the request that publishes it was begun, so that its end is unknown without an answer."""
        self._client_id = client_id
        self._progress: tuple[str, int, int] = ("Preparing", 0, 0)
        self._summary: dict[str, Any] | None = None
        self._result: dict[str, Any] | None = None
        self._error: str | None = None
        self._unreachable = False
        self._offers: list[Offer] = []
        self.approvable: list[dict[str, str]] = []
        """Code that the summary shows, and the person may approve."""
        self.knows_prebuilds = False
        self.examples: list[str] = []
        """Names of the examples that the workflow can be tested with."""
        self.published: Published | None = None
        """What was published, once it was: its pre-build and its test are followed."""
        self._choice: asyncio.Future[list[str]] | None = None
        self._told = 0.0

    def describe(self) -> dict[str, Any]:
        """The job as the page sees it: no key, no workflow."""
        step, done, total = self._progress
        told: dict[str, Any] = {"id": self.id, "state": self.state, "step": step, "done": done, "total": total}
        told["offers"] = [offer.describe() for offer in self._offers]
        told["published_perhaps"] = self.published_perhaps
        told["unreachable"] = self._unreachable
        return {**told, "summary": self._summary, "result": self._result, "error": self._error}

    def ready(self, plan: Plan, existing: dict[str, Any] | None) -> None:
        """Wait for the person, unless the job was called off meanwhile. `existing`: the workflow that is there."""
        if self.cancelled.is_set():
            self.move("cancelled")
            return
        self.plan = plan
        about_server = {"origin": self.target.origin, "next_version": next_version(existing)}
        offered = {"approvable": self.approvable, "examples": self.examples}
        # Null: the server knows of none, and nobody is asked.
        offered["prebuild"] = needs_preparing(plan.body) if self.knows_prebuilds else None
        self._summary = {**plan.summary(), **about_server, **offered}
        self.move("ready")

    def progress(self, step: str, done: int, total: int) -> None:
        """Say how far it is; any thread may. Events about bytes alone are at least a tenth of a second apart."""
        new_step, self._progress = step != self._progress[0], (step, done, total)
        if new_step or done >= total or time.monotonic() - self._told >= _EVENT_SECONDS:
            self._tell()

    async def choose(self, offers: list[Offer]) -> list[LocalModel]:
        """Wait until the person has said which of these models to upload."""
        if not offers:
            return []
        self._offers, self._choice = offers, asyncio.get_running_loop().create_future()
        self.move("choosing")
        paths = await self._choice
        return [offer.model for offer in offers if offer.model.path in paths]

    def chosen(self, paths: list[str]) -> None:
        """The person has said so. Raises Refused where nobody asked."""
        if self.state != "choosing" or self._choice is None or self._choice.done():
            raise Refused(f"This deployment is {self.state}. Press Deploy again.", code="CONFLICT", status=409)
        self._choice.set_result(paths)
        self.move("sending")

    def follow(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work in the background and note how it ended."""
        self.task = asyncio.get_running_loop().create_task(self._watch(work))

    def move(self, state: str, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Come into another state and tell the page."""
        self.state, self._result, self._error = state, result, error
        if state in ("done", "failed", "cancelled"):
            self.plan = None
        self._tell()

    async def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (Cancelled, asyncio.CancelledError):
            self.move("cancelled")
        except (Refused, DeployFailed) as failure:
            self._unreachable = isinstance(failure, DeployFailed) and failure.unreachable
            self.move("failed", error=str(failure))
        except Exception as fault:
            comfyui.LOG.exception("Runflow: the deployment failed")
            self.move(
                "failed", error=f"deploy failed — {type(fault).__name__} in the plugin; ComfyUI's log says where."
            )

    def _tell(self) -> None:
        self._told = time.monotonic()
        if self._client_id is not None:
            comfyui.send(EVENT, self.describe(), self._client_id)


async def prepare(job: DeployJob, name: str, body: dict[str, Any], keys: set[str], machine: Machine) -> None:
    """Make the plan of what the page sent, and have the person look at it; values of `keys` must not be in it.

    The server is asked whether it has the workflow, so that a wrong address or key shows before anything is sent.
    """
    private = {key for key in keys if len(key) >= _LONG_ENOUGH_TO_SEARCH}
    prompt, graph = body.get("prompt"), body.get("graph")
    plan = await asyncio.to_thread(make_plan, name, prompt, graph, private, machine, job.progress, job.cancelled)
    job.progress(f"Looking for {plan.slug}", 0, 0)
    async with Platform(job.target) as platform:
        existing = await platform.find(plan.slug)
        asked = (approvable(platform, plan.body), knows_prebuilds(platform), example_names(platform, existing))
        job.approvable, job.knows_prebuilds, job.examples = await asyncio.gather(*asked)
        job.ready(plan, existing)


async def send(job: DeployJob, plan: Plan, agreed: Agreed = Agreed()) -> None:
    """Upload what the server lacks and publish the workflow; what was uploaded goes again where that is refused."""
    uploaded: list[str] = []
    golden = agreed.golden and bool(job.examples)
    prebuild = agreed.prebuild and job.knows_prebuilds and not golden
    async with Platform(job.target) as platform:
        job.progress(f"Looking for {plan.slug}", 0, 0)
        existing = await platform.find(plan.slug)
        before = await platform.resources(existing) if existing is not None and plan.files else {}
        there = (
            await platform.known_files((sha256, file.size_bytes) for file, sha256 in plan.files) if plan.files else {}
        )
        for model in await job.choose(await offers(platform, plan.local_models)):
            await send_model(platform, model, partial(job.progress, f"Uploading {model.place.name}"))
        try:
            resources = {}
            for number, (file, sha256) in enumerate(plan.files, 1):
                job.progress(f"Uploading {file.path}, {number} of {len(plan.files)}", 0, 0)
                resources[file.path] = await _resource(platform, file, sha256, before, there, uploaded)
            job.progress("Publishing", 0, 0)
            before_it = await latest(platform, existing) if golden and existing is not None else ""
            job.published_perhaps = True
            body = {**plan.body, "resources": resources}
            # An older server does not know these fields.
            body |= {"prebuild": True} if prebuild else {}
            body |= {"golden": True} if golden else {}
            if agreed.approve and job.approvable:
                body["approve_sources"] = [{"origin": one["origin"], "commit": one["commit"]} for one in job.approvable]
            saved = await platform.save(existing, plan.slug, body)
        except (DeployFailed, asyncio.CancelledError) as end:
            # Where the workflow may be there, it needs its files.
            refused = isinstance(end, DeployFailed) and end.refused
            for asset_id in uploaded if refused or not job.published_perhaps else ():
                await platform.drop_asset(asset_id)
            raise
    test = saved.get("golden_run")
    golden_id = str(test.get("id")) if golden and isinstance(test, dict) else ""
    result = _result(job.target, plan, saved, existing)
    job.published = Published(
        str(saved.get("id")),
        str(result["path"]),
        str(saved.get("version")),
        plan.interface,
        prebuild,
        golden_id if golden_id != before_it else "",
    )
    if job.published.golden_id and isinstance(test, dict):
        result |= {"unchanged": False, "testing": str(test.get("version"))}
    # The page asks by the job; an older page does not know it.
    job.move("done", result={**result, "job": job.id if job.published.is_followed else None})


async def _resource(
    platform: Platform,
    file: InputFile,
    sha256: str,
    before: dict[str, Any],
    there: dict[str, dict[str, Any]],
    uploaded: list[str],
) -> dict[str, Any]:
    """The manifest's entry of a file: an asset that the server has of the same content, else a new one."""
    facts = {"mime_type": file.mime_type, "size_bytes": file.size_bytes, "sha256": sha256}
    if sha256 in there:
        return {**there[sha256], **facts}
    last = before.get(file.path)
    if isinstance(last, dict) and last.get("sha256") == sha256:
        asset_id = last.get("asset_id")
        if isinstance(asset_id, str) and await platform.has_asset(asset_id):
            return {**last, **facts}
    sent = await platform.upload(file)
    uploaded.append(sent["asset_id"])
    return {**sent, **facts}


def _result(target: Target, plan: Plan, saved: dict[str, Any], existing: dict[str, Any] | None) -> dict[str, Any]:
    warnings = saved.get("warnings")
    rows = [row for row in warnings if isinstance(row, dict)] if isinstance(warnings, list) else []
    path = saved.get("path") or plan.slug
    page = f"{target.base}/v1/comfyui-workflows/{path}"
    return {
        "created": existing is None,
        "unchanged": bool(existing and existing.get("version") and existing["version"] == saved.get("version")),
        "id": saved.get("id"),
        "slug": plan.slug,
        "path": path,
        "version": saved.get("version"),
        "url": f"{page}/runs",
        "docs_url": f"{target.base}/docs?url=/v1/comfyui-workflows/{path}/openapi.json",
        "curl": curl_command(f"{page}/runs", published_interface(saved, plan.interface)),
        # Of an older server nothing is known.
        "can_run": saved.get("can_run") is not False,
        # The version that is tested before it serves, null without a test.
        "testing": None,
        "warnings": [text for text in map(_advice, rows) if text and text not in plan.warnings],
        "manifest": plan.body["graph"]["extra"]["runflow"],
    }


def _advice(row: dict[str, Any]) -> str:
    """One of the server's warnings with its next step; those that the summary showed read the same."""
    return " ".join(str(row[part]) for part in ("message", "next_step") if row.get(part))
