"""How a deployment ends on the way, against a server of aiohttp."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.deploy.job import Agreed, DeployJob, _result, send
from plugin.deploy.plan import Plan
from plugin.deploy.target import Target
from plugin.manifest.resources import InputFile
from tests.support.catalogue import write


async def stopped_at(place: str, tmp_path: Path) -> tuple[DeployJob, list[str]]:
    """Deploy two files, and stop where the server does not answer any more. What was asked is returned too."""
    asked: list[str] = []
    reached = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        await request.read()
        if asked[-1] == place:
            reached.set()
            await asyncio.Event().wait()
        if request.path == "/v1/asset-uploads":
            number = asked.count(asked[-1])
            url = f"{request.url.origin()}/put/{number}"
            return web.json_response({"asset_id": f"asset-{number}", "upload_url": url}, status=201)
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        job = DeployJob(Target(base, base, "rf_live_x"), None)
        file = InputFile("a.png", write(tmp_path / "a.png", b"a"), 1, "image/png")
        body: dict[str, Any] = {"graph": {"extra": {"runflow": {}}}}
        job.follow(send(job, Plan("A", "a", body, ((file, "0" * 64), (file, "1" * 64)))))
        await asyncio.wait_for(reached.wait(), 60)
        assert job.task is not None
        job.task.cancel()
        await asyncio.wait_for(job.task, 60)
    return job, asked


@pytest.mark.parametrize("place", ["PUT /put/2", "POST /v1/comfyui-workflows"])
async def test_files_of_a_stopped_deployment_are_taken_back_unless_it_may_be_there(place: str, tmp_path: Path) -> None:
    job, asked = await stopped_at(place, tmp_path)
    publishing = place.endswith("workflows")
    assert job.describe()["state"] == "cancelled"
    assert job.describe()["published_perhaps"] is publishing
    taken_back = [line for line in asked if line.startswith("DELETE")]
    assert taken_back == ([] if publishing else ["DELETE /v1/assets/asset-1"])


def test_the_end_repeats_no_warning_of_the_summary() -> None:
    seen, new = {"message": "A.", "next_step": "Do b."}, {"node_id": None, "message": "C.", "next_step": "Do d."}
    plan = Plan("A", "a", {"graph": {"extra": {"runflow": {}}}}, (), warnings=("A. Do b.",))
    saved = {"path": "org/a", "warnings": [seen, new, {"message": "E."}, {}, "nonsense"]}
    result = _result(Target("http://h", "http://h", "rf_live_x"), plan, saved, None)
    assert result["warnings"] == ["C. Do d.", "E."]
    assert (result["created"], result["unchanged"]) == (True, False)
    assert result["can_run"] is True, "an older server does not say"
    for told in (True, False, None):
        of_newer = _result(Target("http://h", "http://h", "rf_live_x"), plan, {**saved, "can_run": told}, None)
        assert of_newer["can_run"] is (told is not False)
    assert result["url"] == "http://h/v1/comfyui-workflows/org/a/runs"


@pytest.mark.parametrize(("approved", "offered"), [(True, True), (False, True), (True, False)])
async def test_only_what_was_shown_and_agreed_to_is_approved(approved: bool, offered: bool) -> None:
    published: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            published.append(await request.json())
            return web.json_response({"path": "org/a"}, status=201)
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        job = DeployJob(Target(base, base, "rf_live_x"), None)
        job.approvable = [{"name": "pack", "origin": "https://h/x", "commit": "a" * 40}] if offered else []
        plan = Plan("A", "a", {"graph": {"extra": {"runflow": {}}}}, ())
        await send(job, plan, Agreed(approve=approved))
    (body,) = published
    assert ("approve_sources" in body) is (approved and offered), "an older server does not know the field"
    if approved and offered:
        assert body["approve_sources"] == [{"origin": "https://h/x", "commit": "a" * 40}]
