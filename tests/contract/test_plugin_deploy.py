"""The plugin's Deploy against the server, with the key that its documentation asks for."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from plugin.deploy.job import DeployJob, send
from plugin.deploy.plan import Plan
from plugin.deploy.target import Target
from plugin.manifest.resources import InputFile
from runflow.ids import new_id
from runflow.server import create_app
from runflow.web.services import Services
from tests.support.application import MakeKey
from tests.support.workflow_prompts import plugin_body

PUBLISHING = ("comfyui-workflows:read", "comfyui-workflows:create", "comfyui-workflows:edit")


@pytest.fixture
async def address(services: Services) -> AsyncIterator[str]:
    """The application on a socket: the plugin has an HTTP client of its own."""
    with socket.socket() as listening, pytest.MonkeyPatch.context() as patched:
        listening.bind(("127.0.0.1", 0))
        here = f"http://127.0.0.1:{listening.getsockname()[1]}"
        patched.setattr(services, "settings", services.settings.model_copy(update={"public_url": here}))
        serving = uvicorn.Server(uvicorn.Config(create_app(services), lifespan="off", log_config=None))
        task = asyncio.create_task(serving.serve([listening]))
        yield here
        serving.should_exit = True
        await task


async def deployed(address: str, key: str, plan: Plan) -> dict[str, Any]:
    """Deploy, and return what the page is told."""
    job = DeployJob(Target(address, address, key), None)
    job.follow(send(job, plan))
    assert job.task is not None
    await job.task
    told = job.describe()
    assert told["state"] == "done", told["error"]
    result: dict[str, Any] = told["result"]
    return result


def plan(slug: str, content: bytes, folder: Path) -> Plan:
    (folder / "ref.png").write_bytes(content)
    file = InputFile("ref.png", folder / "ref.png", len(content), "application/octet-stream")
    body = {name: value for name, value in plugin_body().items() if name not in ("slug", "resources")}
    body["graph"]["extra"]["runflow"] = {}
    return Plan(slug, slug, body, ((file, hashlib.sha256(content).hexdigest()),))


async def test_an_unchanged_workflow_is_sent_again_without_a_new_version_or_asset(
    services: Services, address: str, make_key: MakeKey, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    caller = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert caller is not None
    key = await make_key(scopes=PUBLISHING, org=caller.org_id)
    slug, content = f"again-{new_id().hex[-8:]}", new_id().bytes
    first = await deployed(address, key, plan(slug, content, tmp_path))
    assert (first["created"], first["unchanged"], first["version"]) == (True, False, "1")
    assets = [asset["id"] for asset in (await client.get("/v1/assets")).json()["items"]]
    again = await deployed(address, key, plan(slug, content, tmp_path))
    assert (again["created"], again["unchanged"], again["version"]) == (False, True, "1")
    # Another workflow needs no second copy of the file either.
    other = await deployed(address, key, plan(f"{slug}-2", content, tmp_path))
    assert (other["created"], other["version"]) == (True, "1")
    assert [asset["id"] for asset in (await client.get("/v1/assets")).json()["items"]] == assets
    changed = await deployed(address, key, plan(slug, content + b"!", tmp_path))
    assert (changed["unchanged"], changed["version"]) == (False, "2")
    assert len((await client.get("/v1/assets")).json()["items"]) == len(assets) + 1


async def test_several_inputs_and_outputs_are_no_change_either(
    services: Services, address: str, make_key: MakeKey, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    caller = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert caller is not None
    key = await make_key(scopes=PUBLISHING, org=caller.org_id)
    slug = f"several-{new_id().hex[-8:]}"
    prompt: dict[str, Any] = {"20": {"class_type": "EmptyImage", "inputs": {"width": ["1", 0]}}}
    for number in range(1, 6):
        limits = {"required": False, "default_value": "0.5", "min": "0", "max": "1", "step": ""}
        prompt[str(number)] = {"class_type": "RunflowInputFloat", "inputs": {"input_id": f"f{number}", **limits}}
        output = {"output_id": "one" if number > 3 else f"o{number}", "value": ["20", 0]}
        prompt[str(number + 10)] = {"class_type": "RunflowOutputImage", "inputs": output}
    made = plan(slug, b"x", tmp_path)
    body = {**made.body, "workflow_json": prompt}
    assert (await deployed(address, key, Plan(slug, slug, body, ())))["version"] == "1"
    again = await deployed(address, key, Plan(slug, slug, body, ()))
    assert (again["unchanged"], again["version"]) == (True, "1")
