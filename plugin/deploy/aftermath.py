"""What becomes of a deployment once it was published: its pre-build and its golden run, and the code they wait for.

The page asks for it by the job, which has the address and the key; neither reaches the page.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..answers import Refused
from ..graph import Interface, curl_command
from .approval import MOST_SOURCES, SCOPE, undecorated
from .endpoint import published_interface
from .golden import describe_golden, stop_golden
from .platform import DeployFailed, Platform
from .prebuild import OVER, describe_prebuild
from .target import Target

_ANSWER_SECONDS = 20.0
_FINAL = (401, 403, 404, 410)
"""Answers that another look would get again: the key is gone, or the workflow is."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Published:
    """A version that a job has published, and what was asked for with it.

    `golden_id` names its golden run, empty without one; the version serves only once that has passed. `may_approve` is
    None until the server was asked what the key may do. `interface` is the planned one.
    """

    workflow_id: str
    path: str
    version: str
    interface: Interface
    prebuild: bool = False
    golden_id: str = ""
    may_approve: bool | None = None

    @property
    def is_followed(self) -> bool:
        """Whether anything of it is worth following."""
        return self.prebuild or bool(self.golden_id)


async def follow(target: Target, published: Published) -> dict[str, Any]:
    """How far it is: `{"prebuild", "golden", "deployed", "over", "trouble"}`, each null where there is nothing to tell.

    `deployed` holds what changed about the endpoint when a tested version began to serve. `over`: nothing more comes.
    A server that does not answer is told as `trouble`, for the page asks again.
    """
    told: dict[str, Any] = {"prebuild": None, "golden": None, "deployed": None, "over": False, "trouble": ""}
    try:
        async with Platform(target, answer_seconds=_ANSWER_SECONDS) as platform:
            if published.golden_id:
                told["golden"] = await describe_golden(platform, published.workflow_id, published.golden_id)
                if told["golden"]["state"] == "passed":
                    told["deployed"] = await _serving(platform, target, published)
            if published.prebuild:
                told["prebuild"] = await _prebuild(platform, published)
    except DeployFailed as failure:
        return {**told, "over": failure.status in _FINAL, "trouble": f"{failure.cause} {failure.next_step}".strip()}
    golden, prebuild = told["golden"], told["prebuild"]
    is_over = (golden is None or golden["state"] != "running") and (prebuild is None or prebuild["state"] in OVER)
    return {**told, "over": is_over}


async def prebuild_again(target: Target, published: Published) -> None:
    """Ask for the pre-build of the version once more. Raises Refused in the server's words."""
    path = f"/v1/comfyui-workflows/{quote(published.workflow_id, safe='')}/versions/{quote(published.version, safe='')}"
    async with _asking(target) as platform:
        await platform.ask("prepare", "POST", f"{path}/prebuild", {})
    published.prebuild = True


async def stop_test(target: Target, published: Published) -> None:
    """Stop the golden run of the version; what served goes on. Raises Refused in the server's words."""
    if not published.golden_id:
        raise Refused("This version is not being tested.", code="CONFLICT", status=409)
    async with _asking(target) as platform:
        await stop_golden(platform, published.workflow_id, published.golden_id)


async def approve(target: Target, shown: Any) -> None:
    """Approve code that the page showed as waiting, `[{"origin", "commit"}]`; what was revoked stays so.

    Raises:
        Refused: nothing of it waits, or the server does not let this key approve it.
    """
    rows = shown[:MOST_SOURCES] if isinstance(shown, list) else []
    wanted = {
        (undecorated(row["origin"]), row["commit"])
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("origin"), str) and _is_commit(row.get("commit"))
    }
    if not wanted:
        raise Refused("Nothing to approve was named. Load the page again.", code="NOTHING_TO_APPROVE")
    async with _asking(target) as platform:
        commits = ", ".join(sorted({commit for _, commit in wanted}))
        query = quote(f"state_code:waiting AND commit.in:({commits})", safe="")
        path = f"/v1/sources?limit=500&fields=id,origin,commit&q={query}"
        answer = await platform.ask("approval", "GET", path)
        items = answer.get("items")
        found = [row for row in items if isinstance(row, dict)] if isinstance(items, list) else []
        ids = [
            str(row.get("id")) for row in found if (undecorated(str(row.get("origin"))), row.get("commit")) in wanted
        ]
        if not ids:
            raise Refused("None of it waits for approval any more.", code="NOTHING_TO_APPROVE", status=409)
        for source in ids:
            await platform.ask("approval", "POST", f"/v1/sources/{quote(source, safe='')}/approve", {})


@contextlib.asynccontextmanager
async def _asking(target: Target) -> AsyncIterator[Platform]:
    """The server, whose refusal the person is told."""
    try:
        async with Platform(target, answer_seconds=_ANSWER_SECONDS) as platform:
            yield platform
    except DeployFailed as failure:
        raise Refused(str(failure), code=failure.code or "SERVER_FAILED", status=502) from None


def _is_commit(commit: object) -> bool:
    return isinstance(commit, str) and _COMMIT.fullmatch(commit) is not None


async def _prebuild(platform: Platform, published: Published) -> dict[str, Any] | None:
    place = quote(published.workflow_id, safe="")
    runtime = await platform.ask("lookup", "GET", f"/v1/comfyui-workflows/{place}/runtime")
    told = describe_prebuild(runtime, published.version)
    if told is None:
        return None
    if told["state"] == "waiting_for_approval" and published.may_approve is None:
        published.may_approve = await _may_approve(platform)
    waits = any(row["state"] == "waiting" for row in told["sources"])
    return {**told, "may_approve": bool(published.may_approve) and waits}


async def _may_approve(platform: Platform) -> bool:
    """Whether the key may: another organization's key may hold the scope and is refused all the same."""
    try:
        key = (await platform.ask("lookup", "GET", "/v1/auth/me")).get("api_key")
        scopes = key.get("scopes") if isinstance(key, dict) else None
        if not isinstance(scopes, list) or SCOPE not in scopes:
            return False
        await platform.ask("lookup", "GET", "/v1/sources?limit=1&fields=id")
    except DeployFailed as failure:
        if failure.refused:
            return False
        raise
    return True


async def _serving(platform: Platform, target: Target, published: Published) -> dict[str, Any]:
    """What the panel says of the endpoint now that the tested version serves: its interface may be another one."""
    place = quote(published.workflow_id, safe="")
    saved: Mapping[str, Any] = await platform.ask("lookup", "GET", f"/v1/comfyui-workflows/{place}")
    url = f"{target.base}/v1/comfyui-workflows/{published.path}/runs"
    curl = curl_command(url, published_interface(saved, published.interface))
    return {"version": str(saved.get("version")), "curl": curl}
