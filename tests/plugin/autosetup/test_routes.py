"""The routes of Auto setup, on a server of aiohttp alone."""

import sys
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from plugin import comfyui
from plugin.autosetup import restart, routes
from plugin.autosetup.sources import VARIABLE
from plugin.routes import add_to
from plugin.security.authenticator import AUTHENTICATOR
from tests.plugin.autosetup.small_machine import SmallMachine
from tests.support.autosetup_hosts import Host, Served, safetensors

Client = TestClient[web.Request, web.Application]
PLANS, JOBS = "/runflow/autosetup/plans", "/runflow/autosetup/jobs"


@pytest.fixture
async def client(machine: SmallMachine, host: Host, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(comfyui, "Catalogue", lambda: machine)
    monkeypatch.setattr(comfyui, "prompts_left", lambda: 0)
    monkeypatch.setitem(sys.modules, "server", ModuleType("server"))
    monkeypatch.setenv(VARIABLE, host.url)
    monkeypatch.setattr(routes, "_jobs", [])
    monkeypatch.setattr(restart, "restart_soon", lambda: None)
    table = web.RouteTableDef()
    add_to(table)
    app: Any = web.Application()
    app[AUTHENTICATOR] = SimpleNamespace(account=None)
    app.add_routes(table)
    async with TestClient(TestServer(app)) as opened:
        yield opened


def wanted(host: Host) -> dict[str, Any]:
    host.files |= {"/a.safetensors": Served(safetensors(9000)), "/b.ckpt": Served(b"b" * 900)}
    rows = [{"name": name, "url": f"{host.url}/{name}", "directory": "loras"} for name in ("a.safetensors", "b.ckpt")]
    return {"graph": {"nodes": [], "models": rows}, "custom_nodes": True, "models": True}


async def ask(client: Client, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    answer = await client.post(path, json=body, headers=headers)
    return answer.status, await answer.json()


async def finished(client: Client) -> Any:
    (job,) = routes._jobs
    assert job.task is not None
    await job.task
    return (await (await client.get(f"{JOBS}/current")).json())["job"]


async def test_only_approved_lines_are_done_and_pickles_only_when_allowed(
    client: Client, host: Host, machine: SmallMachine
) -> None:
    status, plan = await ask(client, PLANS, wanted(host))
    assert status == 200
    ids = [line["id"] for line in plan["lines"]]
    assert [line["pickle"] for line in plan["lines"]] == [False, True]
    assert machine.everything() == set()
    assert (await ask(client, JOBS, {"plan": plan["id"], "lines": ids[1:]}))[1]["code"] == "NOTHING_APPROVED"
    assert (await ask(client, JOBS, {"plan": plan["id"], "lines": ["x", 7]}))[1]["code"] == "NOTHING_APPROVED"
    status, job = await ask(client, JOBS, {"plan": plan["id"], "lines": ids})
    assert (status, [item["id"] for item in job["items"]]) == (200, ids[:1])
    ended = await finished(client)
    assert [item["state"] for item in ended["items"]] == ["done"]
    assert machine.everything() == {"models/loras/a.safetensors"}
    assert (await ask(client, JOBS, {"plan": plan["id"], "lines": ids}))[0] == 404  # a plan is done once

    _, plan = await ask(client, PLANS, wanted(host))
    ids = [line["id"] for line in plan["lines"]]
    await ask(client, JOBS, {"plan": plan["id"], "lines": ids, "pickles": ids})
    await finished(client)
    assert machine.everything() == {"models/loras/a.safetensors", "models/loras/b.ckpt"}


async def test_one_job_at_a_time_and_no_restart_meanwhile(client: Client, host: Host, machine: SmallMachine) -> None:
    body = wanted(host)
    host.files["/a.safetensors"].pause = 0.3
    host.files["/a.safetensors"].content = safetensors(900_000)
    plans = [(await ask(client, PLANS, body))[1] for _ in range(2)]
    chosen = {"lines": [plans[0]["lines"][0]["id"]]}
    assert (await ask(client, JOBS, {"plan": plans[0]["id"], **chosen}))[0] == 200
    assert (await ask(client, JOBS, {"plan": plans[1]["id"], **chosen}))[0] == 409
    assert (await ask(client, "/runflow/autosetup/restarts", {"confirmed": True}))[0] == 409
    assert (await ask(client, f"{JOBS}/current/answers", {"line": "x", "approved": True}))[0] == 409
    assert (await ask(client, f"{JOBS}/current/cancellation", {}))[0] == 200
    assert (await finished(client))["state"] == "cancelled"
    assert machine.everything() == set()


async def test_a_restart_asks_first_while_prompts_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    restarts: list[bool] = []
    monkeypatch.setattr(restart, "restart_soon", lambda: restarts.append(True))
    monkeypatch.setattr(comfyui, "prompts_left", lambda: 2)
    status, answer = await ask(client, "/runflow/autosetup/restarts", {})
    assert (status, answer["code"], restarts) == (409, "BUSY", [])
    assert "2 prompts" in answer["message"]
    status, answer = await ask(client, "/runflow/autosetup/restarts", {"confirmed": True})
    assert (status, answer, restarts) == (200, {"process": restart.PROCESS}, [True])


ROUTES = (PLANS, JOBS, f"{JOBS}/current/answers", f"{JOBS}/current/cancellation", "/runflow/autosetup/restarts")


@pytest.mark.parametrize("path", ROUTES)
async def test_other_sites_are_refused_and_reading_changes_nothing(path: str, client: Client) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert (await ask(client, path, {}, **headers))[0] == 403
    assert (await client.get(path)).status in (404, 405)
    assert (await client.post(path, data="x", headers={"Content-Type": "text/plain"})).status == 415


@pytest.mark.parametrize("path", [PLANS, JOBS, "/runflow/autosetup/restarts"])
async def test_who_is_not_at_this_machine_needs_a_password(
    path: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name of another site that was made to lead here: the browser takes both for one site.
    status, answer = await ask(client, path, {}, Host="evil.example:8188", Origin="http://evil.example:8188")
    assert (status, answer["code"]) == (403, "NOT_AT_THIS_MACHINE")
    assert (await ask(client, path, {}, Host="[::1"))[1]["code"] == "NOT_AT_THIS_MACHINE"
    assert (await ask(client, path, {}, Host="[::1", Origin="http://[evil"))[1]["code"] == "OTHER_SITE"
    for name in ("localhost:8188", "[::1]:8188", "127.0.0.1"):
        assert (await ask(client, path, {}, Host=name))[1].get("code") != "NOT_AT_THIS_MACHINE"
    for header in ("X-Forwarded-For", "Via"):  # a proxy on this machine asks for anybody
        assert (await ask(client, path, {}, **{header: "1.2.3.4"}))[1]["code"] == "NOT_AT_THIS_MACHINE"
    monkeypatch.setattr(web.Request, "remote", property(lambda _request: "192.168.1.7"))
    assert (await ask(client, path, {}))[1]["code"] == "NOT_AT_THIS_MACHINE"
    app: Any = client.app
    monkeypatch.setattr(app[AUTHENTICATOR], "account", "somebody")
    assert (await ask(client, path, {}))[1].get("code") != "NOT_AT_THIS_MACHINE"


async def test_a_graph_is_needed(client: Client) -> None:
    graphs: list[Any] = [None, [], "x", 7]
    for graph in graphs:
        assert (await ask(client, PLANS, {"graph": graph}))[1]["code"] == "INVALID_GRAPH"
