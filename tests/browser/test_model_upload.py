"""A model that only the author has: offered in the editor, uploaded, and loaded by a worker that never had it."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from runflow.client import Runflow
from tests.browser.connection import connection
from tests.support.deploy_dialog import agree, press_deploy
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage
from tests.support.platform_fixtures import Platform
from tests.support.upscaler import safetensors

pytestmark = pytest.mark.browser

FILE = "only-here.safetensors"


@pytest.fixture
def model(editor: Editor) -> Iterator[Path]:
    """A model in the editor's folder that nobody else has."""
    place = editor.base / "models" / "upscale_models" / FILE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(safetensors(str(uuid.uuid4())))
    yield place
    place.unlink()


@pytest.fixture
def connected(editor: Editor, model: Path, platform: Platform, platform_key: str) -> Iterator[Editor]:
    with connection(editor, platform.url, platform_key):
        yield editor


@pytest.fixture
def server(platform: Platform, platform_key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30) as client:
        yield client


async def build(page: EditorPage, name: str) -> str:
    await page.load(EMPTY)
    square = await page.add("EmptyImage", 40, 40, width=16, height=16)
    loader = await page.add("UpscaleModelLoader", 40, 300, model_name=FILE)
    larger = await page.add("ImageUpscaleWithModel", 400, 40)
    output = await page.add("RunflowOutputImage", 720, 40, output_id="larger")
    deploy = await page.add("RunflowDeploy", 400, 300, endpoint_name=name)
    await page.connect(loader, 0, larger, "upscale_model")
    await page.connect(square, 0, larger, "image")
    await page.connect(larger, 0, output, "value")
    return deploy


def uploaded(server: httpx.Client) -> set[str]:
    return {row["sha256"] for row in server.get("/v1/models").json()["items"]}


async def test_a_model_is_offered_uploaded_once_and_used(
    connected: Editor, model: Path, open_page: OpenPage, server: httpx.Client, platform: Platform, platform_key: str
) -> None:
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    slug = f"larger-{connected.port}"
    page = await open_page(connected)
    deploy = await build(page, slug)
    await press_deploy(page, deploy)
    await agree(page)
    offer = page.page.get_by_role("dialog", name="Upload models?")
    box = offer.get_by_role("checkbox", name=f"upscale_models/{FILE}")
    await expect(box).to_be_checked()
    await page.screenshot("offer")
    assert sha256 not in uploaded(server)
    await offer.get_by_role("button", name="Continue").click()
    await page.toast("Deployed ✓")
    assert sha256 in uploaded(server)

    workflow: dict[str, Any] = server.get(f"/v1/comfyui-workflows/default/{slug}").json()
    assert workflow["models"][f"upscale_models/{FILE}"]["sha256"] == sha256
    assert str(model) not in json.dumps(workflow)
    with Runflow(platform.url, platform_key) as api:
        run = api.wait(api.submit(workflow["path"], {})["id"], timeout=300)
    assert run["output"]["outputs"][0]["width"] == 32

    await press_deploy(page, deploy)
    await agree(page)
    await page.toast("nothing has changed")
    await expect(offer).to_have_count(0)


async def test_what_is_not_ticked_is_not_sent_and_cancel_sends_nothing(
    connected: Editor, model: Path, open_page: OpenPage, server: httpx.Client
) -> None:
    slug = f"refused-{connected.port}"
    page = await open_page(connected)
    deploy = await build(page, slug)
    await press_deploy(page, deploy)
    await agree(page)
    offer = page.page.get_by_role("dialog", name="Upload models?")
    await offer.get_by_role("button", name="Cancel").click()
    await expect(offer).to_have_count(0)
    assert server.get(f"/v1/comfyui-workflows/default/{slug}").status_code == 404

    await press_deploy(page, deploy)
    await agree(page)
    await offer.get_by_role("checkbox").uncheck()
    await offer.get_by_role("button", name="Continue").click()
    await page.toast("Deployed, but no worker can run it yet")
    assert hashlib.sha256(model.read_bytes()).hexdigest() not in uploaded(server)
