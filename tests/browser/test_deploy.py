"""Deploy in the real editors against a real Runflow server, and a run of what was deployed."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.async_api import expect

from runflow.client import Runflow
from tests.browser.connection import connection
from tests.support.comfyui_client import execute
from tests.support.deploy_dialog import agree, press_deploy
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage
from tests.support.platform_fixtures import Platform

pytestmark = pytest.mark.browser


def save_noise(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def connected(editor: Editor, platform: Platform, platform_key: str) -> Iterator[Editor]:
    """An editor whose settings name the session's server and a key of it."""
    with connection(editor, platform.url, platform_key):
        yield editor


@pytest.fixture
def server(platform: Platform, platform_key: str) -> Iterator[httpx.Client]:
    """Plain requests to the session's server."""
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30) as client:
        yield client


def workflow_of(server: httpx.Client, slug: str) -> dict[str, Any]:
    answer = server.get(f"/v1/comfyui-workflows/default/{slug}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def build(page: EditorPage, editor: Editor, name: str) -> str:
    """A workflow with a constant file, an input wired to a local one, and a Deploy node. Returns the node's id."""
    for number, file in enumerate(("constant.png", "local.png", "unused.png")):
        save_noise(editor.base / "input" / file, number)
    await page.load(EMPTY)
    local = await page.add("LoadImage", 40, 40, image="local.png")
    constant = await page.add("LoadImage", 40, 460, image="constant.png")
    given = await page.add("RunflowInputImage", 400, 40, input_id="photo")
    blend = await page.add("ImageBlend", 720, 40, blend_factor=0.25)
    output = await page.add("RunflowOutputImage", 1000, 40, output_id="blended")
    deploy = await page.add("RunflowDeploy", 400, 460, endpoint_name=name)
    await page.connect(local, 0, given, "value")
    await page.connect(given, 0, blend, "image1")
    await page.connect(constant, 0, blend, "image2")
    await page.connect(blend, 0, output, "value")
    return deploy


async def test_what_was_deployed_gives_the_picture_of_the_local_run(
    connected: Editor, open_page: OpenPage, api: Runflow, server: httpx.Client, tmp_path: Path
) -> None:
    name = f"Blend It {connected.port}"
    page = await open_page(connected)
    deploy = await build(page, connected, name)
    (image,) = execute(connected.url, await page.prompt()).outputs["5"]["images"]
    local_run = (connected.base / "output" / image["subfolder"] / image["filename"]).read_bytes()

    # Left out by the caller, it leaves the blend its own factor.
    strength = await page.add("RunflowInputFloat", 400, 800, input_id="strength", required=False)
    await page.connect(strength, 0, "4", "blend_factor")
    await page.until_labelled(deploy, "Deploy")
    await press_deploy(page, deploy)
    summary = page.page.get_by_role("dialog", name="Deploy “")
    await expect(summary).to_contain_text(f"as blend-it-{connected.port}")
    await expect(summary).to_contain_text("Files to upload (1)constant.png")
    await expect(summary).not_to_contain_text("unused.png")
    await expect(summary).not_to_contain_text("local.png")
    await page.screenshot("summary")
    await agree(page)
    await page.toast("Deployed ✓")
    await page.toast(f"POST {server.base_url}/v1/comfyui-workflows/default/blend-it-{connected.port}/runs")
    await page.screenshot("deployed")
    assert page.alerts == []

    workflow = workflow_of(server, f"blend-it-{connected.port}")
    sent = json.dumps(workflow)
    assert list(workflow["resources"]) == ["constant.png"]
    assert "value" not in workflow["workflow_json"]["3"]["inputs"]
    assert "RunflowDeploy" not in json.dumps(workflow["workflow_json"])
    assert "rf_live_" not in sent
    assert workflow["environment"]["comfyui"]["version"]
    assert set(workflow["custom_nodes"]) == {"ComfyUI-Runflow"}

    asset = api.upload(connected.base / "input/local.png")
    run = api.wait(api.submit(workflow["path"], {"photo": asset})["id"])
    assert run["status_code"] == "succeeded", run["failure_message"]
    api.download(run["output"]["outputs"][0], tmp_path / "remote.png")
    assert (tmp_path / "remote.png").read_bytes() == local_run

    # The live workflow keeps its wire, and gets the manifest for Auto setup.
    graph = await page.graph()
    assert len(graph["links"]) == 5
    assert graph["extra"]["runflow"]["custom_nodes"].keys() == {"ComfyUI-Runflow"}
    assert "rf_live_" not in json.dumps(graph)


async def test_a_second_deployment_is_a_new_version_of_the_same_workflow(
    connected: Editor, open_page: OpenPage, server: httpx.Client
) -> None:
    name = f"Again {connected.port}"
    page = await open_page(connected)
    deploy = await build(page, connected, name)
    records = []
    for number, factor in enumerate((0.25, 0.75), 1):
        await page.set_widget((await page.find("ImageBlend"))[0], "blend_factor", factor)
        await press_deploy(page, deploy)
        await agree(page)
        await page.toast(f"version {number}")
        records.append(workflow_of(server, f"again-{connected.port}"))
    assert records[0]["id"] == records[1]["id"]
    assert [record["workflow_json"]["4"]["inputs"]["blend_factor"] for record in records] == [0.25, 0.75]
    assets = [record["resources"]["constant.png"]["asset_id"] for record in records]
    assert assets[0] == assets[1]  # the file is the same, so it is not uploaded again
    # The manifest in the open workflow is no step that a person could undo.
    tracked = "app.extensionManager.workflow.activeWorkflow.changeTracker"
    steps = await page.page.evaluate(f"{tracked}.undoQueue.length")
    assert "runflow" in await page.page.evaluate(f"{tracked}.activeState.extra")
    await page.page.evaluate(f"({tracked}.captureCanvasState ?? {tracked}.checkState).call({tracked})")
    assert await page.page.evaluate(f"{tracked}.undoQueue.length") == steps

    # It goes to the workflow that was deployed, whichever is shown by then.
    await page.page.evaluate("delete app.graph.extra.runflow")
    await page.set_widget((await page.find("ImageBlend"))[0], "blend_factor", 0.5)
    await press_deploy(page, deploy)
    await page.page.evaluate(
        "async () => { window.deployed = app.extensionManager.workflow.activeWorkflow;"
        " await app.extensionManager.command.execute('Comfy.NewBlankWorkflow') }"
    )
    await agree(page)
    await page.toast("version 3")
    assert "runflow" not in (await page.graph())["extra"]
    assert "runflow" in await page.page.evaluate("window.deployed.changeTracker.activeState.extra")


async def test_subgraphs_and_models(connected: Editor, open_page: OpenPage, server: httpx.Client) -> None:
    models = connected.base / "models/upscale_models/sub"
    models.mkdir(parents=True, exist_ok=True)
    for name in ("known.safetensors", "homemade.safetensors", "listed.safetensors"):
        (models / name).write_bytes(name.encode() * 1_000_000)
    page = await open_page(connected)
    listed = {"name": "listed.safetensors", "url": "https://models.example/l", "directory": "upscale_models"}
    # The oldest editor's own question about models would cover the page: it does not look below the folder.
    await page.page.evaluate("app.ui.settings.setSettingValue('Comfy.Workflow.ShowMissingModelsWarning', false)")
    await page.load({**EMPTY, "models": [listed]})
    local = await page.add("LoadImage", 40, 40)
    given = await page.add("RunflowInputImage", 400, 40, input_id="photo")
    loaders = [await page.add("UpscaleModelLoader", 400, 400 + 100 * number) for number in range(3)]
    sizers = [await page.add("ImageUpscaleWithModel", 800, 40 + 150 * number) for number in range(3)]
    output = await page.add("RunflowOutputImage", 1200, 40)
    deploy = await page.add("RunflowDeploy", 40, 500, endpoint_name=f"Subgraph {connected.port}")
    await page.connect(local, 0, given, "value")
    names = ("known", "homemade", "listed")
    for loader, sizer, source, name in zip(loaders, sizers, (given, *sizers), names, strict=False):
        await page.set_widget(loader, "model_name", f"sub/{name}.safetensors")
        await page.connect(loader, 0, sizer, "upscale_model")
        await page.connect(source, 0, sizer, "image")
    await page.connect(sizers[2], 0, output, "value")
    url = "https://user:secret@models.example/known.safetensors?token=secret"
    await page.page.evaluate(
        """([inside, loader, url]) => {
            const nodes = app.graph.nodes.filter((node) => inside.includes(String(node.id)))
            const known = nodes.find((node) => String(node.id) === loader)
            known.properties.models = [{ name: "known.safetensors", url, directory: "upscale_models" }]
            app.graph.convertToSubgraph(new Set(nodes))
        }""",
        [[given, *loaders], loaders[0], url],
    )
    inside = f"{await page.page.evaluate('app.graph.nodes.find((node) => node.subgraph).id')}:"
    before = await page.graph()

    await press_deploy(page, deploy)
    summary = page.page.get_by_role("dialog", name="Deploy “")
    await expect(summary).to_contain_text("sub/known.safetensors, 17 MB: https://models.example/known.safetensors")
    await expect(summary).to_contain_text("sub/homemade.safetensors, 20 MB: no source known")
    await expect(summary).to_contain_text("sub/listed.safetensors, 18 MB: https://models.example/l")
    await page.screenshot("models")
    await agree(page)
    offer = page.page.get_by_role("dialog", name="Upload models?")
    await offer.get_by_role("checkbox", name="sub/homemade.safetensors").uncheck()
    await offer.get_by_role("button", name="Continue").click()
    await page.toast("Deployed, but no worker can run it yet")  # no worker has the model

    workflow = workflow_of(server, f"subgraph-{connected.port}")
    inputs = [node["inputs"] for node_id, node in workflow["workflow_json"].items() if node_id.startswith(inside)]
    assert len(inputs) == 4
    assert not any("value" in each for each in inputs)
    assert [row["name"] for row in workflow["inputs"]] == ["photo"]
    known = workflow["models"]["upscale_models/sub/known.safetensors"]
    assert known["url"] == "https://models.example/known.safetensors"
    assert known["sha256"] == hashlib.sha256((models / "known.safetensors").read_bytes()).hexdigest()
    assert "url" not in workflow["models"]["upscale_models/sub/homemade.safetensors"]
    assert workflow["resources"] == {}  # the picture of the local wire stays here
    (definition,) = workflow["graph"]["definitions"]["subgraphs"]
    (photo,) = [node for node in definition["nodes"] if node["type"] == "RunflowInputImage"]
    assert [slot["link"] for slot in photo["inputs"] if slot["name"] == "value"] == [None]
    there = {link["id"] for link in definition["links"]}
    assert all(set(row["linkIds"]) <= there for row in definition["inputs"] + definition["outputs"])

    after = await page.graph()
    assert after["definitions"] == before["definitions"]
    assert after["links"] == before["links"]


async def test_cancel_sends_nothing(connected: Editor, open_page: OpenPage, server: httpx.Client) -> None:
    page = await open_page(connected)
    deploy = await build(page, connected, f"Never {connected.port}")
    await press_deploy(page, deploy)
    await page.page.keyboard.press("Escape")
    await expect(page.page.get_by_role("dialog", name="Deploy “")).to_have_count(0)
    listed = server.get("/v1/comfyui-workflows", params={"q": f"slug.eq:'never-{connected.port}'"})
    assert listed.json()["items"] == []
    await page.until_labelled(deploy, "Deploy")
