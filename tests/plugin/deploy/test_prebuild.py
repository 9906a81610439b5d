"""Whether a server knows pre-builds, and whether a workflow has anything to prepare."""

from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.deploy.platform import Platform
from plugin.deploy.prebuild import describe_prebuild, knows_prebuilds, needs_preparing
from plugin.deploy.target import Target

PLUGIN = {"ComfyUI-Runflow": {"plugin": True, "origin": "https://git.example/r", "commit": "a" * 40}}


async def known(base: str, key: str = "rf_live_x") -> bool:
    async with Platform(Target(base, base, key)) as platform:
        return await knows_prebuilds(platform)


async def test_our_server_knows_them(own_address: str, client: httpx.AsyncClient) -> None:
    assert await known(own_address, client.headers["Authorization"].removeprefix("Bearer "))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, {"code": "NOT_FOUND", "message": "There is no such address."}),
        (404, {"code": "COMFYUI_WORKFLOW_NOT_FOUND", "message": "No."}),
        (405, {"detail": "Method Not Allowed"}),
        (200, {"items": []}),
        (500, {"code": "INTERNAL", "message": "No."}),
    ],
)
async def test_an_older_server_and_another_program_do_not(status: int, answer: Any) -> None:
    async def respond(_request: web.Request) -> web.Response:
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server:
        assert not await known(str(server.make_url("")).rstrip("/"))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, False),
        ({"models": {"loras/a.safetensors": {}}}, True),
        ({"custom_nodes": {**PLUGIN, "pack": {"origin": "https://git.example/x"}}}, True),
        ({"environment": {"cached_models": {"huggingface": [{"repo": "org/name"}], "pytorch": []}}}, True),
        ({"environment": {"cached_models": {"huggingface": [], "pytorch": []}}}, False),
    ],
)
def test_what_names_models_or_packs_has_something_to_prepare(sent: dict[str, Any], expected: bool) -> None:
    body = {"environment": {}, "custom_nodes": PLUGIN, "models": {}, **sent}
    assert needs_preparing(body) is expected


def test_a_failure_says_where_whose_fault_it_is_and_what_to_do() -> None:
    record = {
        "state_code": "failed",
        "worker": "box-1",
        "step": "check",
        "pack": "Grow",
        "message": "Its import fails. Name what it needs in requirements.txt.",
        "log": "x" * 100_000 + "the end",
    }
    told = describe_prebuild({"version": "3", "prebuild": record}, "3")
    assert told is not None
    assert told["text"] == (
        "It failed on the worker box-1 while starting what was built. The node pack Grow is at fault. "
        "Its import fails. Name what it needs in requirements.txt."
    )
    assert "prepare again" in told["next_step"]
    assert told["log"].endswith("the end") and len(told["log"]) < 10_000


def test_a_version_that_another_one_has_replaced_is_left() -> None:
    told = describe_prebuild({"version": "4", "prebuild": {"state_code": "queued"}}, "3")
    assert told is not None and told["state"] == "superseded"
    assert describe_prebuild({"version": "3", "prebuild": None}, "3") is None
    strange = describe_prebuild({"version": "3", "prebuild": {"state_code": "napping"}}, "3")
    assert strange is not None and strange["text"], "a newer server's state is shown as waiting"


def test_a_command_to_copy_holds_whatever_an_origin_is_called() -> None:
    source = {"name": "p", "origin": "https://h/x;y", "commit": "a" * 40, "state_code": "waiting"}
    runtime = {"version": "1", "prebuild": {"state_code": "waiting_for_approval"}, "unapproved_sources": [source, 7]}
    told = describe_prebuild(runtime, "1")
    assert told is not None
    (shown,) = told["sources"]
    assert shown["command"] == f"runflow sources approve 'https://h/x;y@{'a' * 40}'"
