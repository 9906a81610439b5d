"""The Deploy node tells live how a machine is prepared and how a version is tested; the test plays the worker."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Locator, Request, expect

from tests.browser.connection import connection
from tests.support.able import MakeAble
from tests.support.deploy_dialog import agree, press_deploy
from tests.support.deployed import Worker
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage

pytestmark = pytest.mark.browser

CLASSES = ("EmptyImage", "RunflowOutputImage")
LOG = "\n".join(
    f"Collecting a-package-with-a-long-name=={number}.0 into /srv/runtimes/environment" for number in range(60)
)
BUILT = {
    "fingerprint": "f",
    "succeeded": False,
    "step": "packages",
    "pack": "ComfyUI-Grow",
    "message": "No.",
    "log": LOG,
}
WHY = (
    "ComfyUI-Grow wants numpy<1.20, and ComfyUI wants numpy>=1.25, so no set of packages fits both. Take another "
    "commit of ComfyUI-Grow that goes with this ComfyUI, or ask its author; the log names each package that was tried."
)
FAILED = {"code": "RUNTIME_BUILD_FAILED", "stage": "prepare", "message": WHY}


async def build(page: EditorPage, name: str) -> tuple[str, str]:
    """A workflow of one picture. Returns its picture node and its Deploy node."""
    await page.load(EMPTY)
    picture = await page.add("EmptyImage", 40, 40, width=16, height=16)
    output = await page.add("RunflowOutputImage", 420, 40, output_id="picture")
    await page.connect(picture, 0, output, "value")
    return picture, await page.add("RunflowDeploy", 420, 240, endpoint_name=name)


async def held(worker: Worker) -> dict[str, Any]:
    answer = await worker.http.post("/v1/worker/prebuilds", json={**worker.me, "wait_seconds": 20})
    assert answer.json()["prebuild"] is not None
    return dict(answer.json()["prebuild"])


async def report(worker: Worker, order: dict[str, Any], result: str, **more: Any) -> None:
    body = {**worker.me, "result": result, **more}
    answer = await worker.http.post(f"/v1/worker/prebuilds/{order['id']}/reports", json=body)
    assert answer.status_code == 200, answer.text


async def kept_example(client: httpx.AsyncClient, slug: str, name: str) -> None:
    (found,) = (await client.get("/v1/comfyui-workflows", params={"q": f"slug:{slug}"})).json()["items"]
    path = f"/v1/comfyui-workflows/{found['id']}/examples"
    assert (await client.post(path, json={"name": name, "input": {}})).status_code == 201


def summary(page: EditorPage) -> Locator:
    return page.page.get_by_role("dialog", name="Deploy “")


def panel(page: EditorPage) -> Locator:
    return page.page.get_by_role("region", name="Deployed: ")


@pytest.fixture
async def page(
    open_page: OpenPage, editor: Editor, own_address: str, client: httpx.AsyncClient
) -> AsyncIterator[EditorPage]:
    """A page of each editor, connected to a server whose workers are the test's."""
    with connection(editor, own_address, client.headers["Authorization"].removeprefix("Bearer ")):
        yield await open_page(editor)


async def test_a_machine_is_prepared_before_the_eyes_of_the_person(
    page: EditorPage, editor: Editor, able: MakeAble
) -> None:
    worker = await able(CLASSES, gpu="CPU")
    _, deploy = await build(page, f"ahead-{editor.port}")
    await press_deploy(page, deploy)
    box = summary(page).get_by_role("checkbox", name="Prepare a machine now")
    await expect(box).not_to_be_checked()  # it names neither models nor node packs
    await box.check()
    await expect(summary(page)).not_to_contain_text("Test with")
    await page.screenshot("offered")
    await agree(page)
    await expect(panel(page)).to_contain_text("A machine will be prepared")
    order = await held(worker)
    await report(worker, order, "building", step="packages", message="Finding one set of packages.")
    await expect(panel(page)).to_contain_text(f"The worker {worker.name}: Finding one set of packages.")
    await page.screenshot("building")

    await report(worker, order, "failed", error=FAILED, built=BUILT)
    await page.toast("Preparing a machine failed")
    await expect(panel(page)).to_contain_text("while finding one set of Python packages for all of it")
    await expect(panel(page)).to_contain_text(WHY)
    await panel(page).get_by_text("End of the log").click()
    await expect(panel(page).get_by_label("End of the log")).to_contain_text("==59.0")
    await page.screenshot("failed")
    found = await Axe().run(page.page, context=".runflow-deployed")
    assert found.violations_count == 0, found.generate_report()
    await page.page.evaluate("app.extensionManager.toast.removeAll()")
    await page.page.set_viewport_size({"width": 420, "height": 800})
    await page.page.evaluate("() => { app.canvas.ds.scale = 0.9; app.canvas.centerOnNode(app.graph.nodes.at(-1)) }")
    await expect(panel(page)).to_be_in_viewport()
    await page.screenshot("failed-narrow")
    await page.page.set_viewport_size({"width": 1280, "height": 800})

    # The nodes are made anew, as another tab does it, and the new panel goes on.
    await panel(page).get_by_role("button", name="Prepare again").click()
    await expect(panel(page)).to_contain_text("A machine will be prepared")
    graph = await page.graph()
    await page.load(EMPTY)
    await expect(panel(page)).to_have_count(0)
    await page.load(graph)
    await report(worker, await held(worker), "ready")
    await expect(panel(page)).to_contain_text("A machine is ready ✓")
    await expect(panel(page)).to_contain_text(f"The worker {worker.name} has all that version 1 needs")
    await page.screenshot("ready")
    assert page.alerts == []


async def test_a_version_is_tested_first_and_the_node_tells_how_that_goes(
    open_page: OpenPage, newest_editor: Editor, own_address: str, client: httpx.AsyncClient, able: MakeAble
) -> None:
    slug, key = f"tested-{newest_editor.port}", client.headers["Authorization"].removeprefix("Bearer ")
    with connection(newest_editor, own_address, key):
        page = await open_page(newest_editor)
        asked: list[str] = []

        def note(request: Request) -> None:
            if "/aftermath" in request.url:
                asked.append(request.url)

        page.page.on("request", note)
        picture, deploy = await build(page, slug)
        await press_deploy(page, deploy)
        await summary(page).get_by_role("checkbox", name="Prepare a machine now").check()
        await agree(page)
        await expect(panel(page)).to_contain_text("A machine will be prepared")
        first = asked[0]
        await kept_example(client, slug, "plain")
        worker = await able(CLASSES, gpu="CPU")

        await page.set_widget(picture, "width", 32)
        await page.until_labelled(deploy, "Deploy")
        await press_deploy(page, deploy)
        test = summary(page).get_by_role("checkbox", name="Test with the example first (plain)")
        prepare = summary(page).get_by_role("checkbox", name="Prepare a machine now")
        await expect(test).not_to_be_checked()
        await test.check()
        await expect(prepare).to_be_disabled()
        await expect(summary(page)).to_contain_text("The runs of the test prepare a machine.")
        await page.screenshot("offered")
        await agree(page)
        await page.toast("Deployed, and being tested")
        await expect(panel(page)).to_contain_text(re.compile(rf"Being tested: \S+/{slug}, version 2"))
        lease = await worker.lease(wait=20)
        assert lease is not None
        await expect(panel(page)).to_contain_text(re.compile("plain: (dispatching|running)"))
        await page.screenshot("testing")
        await worker.fail(lease, "EXECUTION_FAILED")
        await page.toast("Version 2 does not serve: its test failed")
        await expect(panel(page)).to_contain_text(re.compile(rf"Not deployed: \S+/{slug}, version 2"))
        await expect(panel(page)).to_contain_text("It broke. Mend it.")
        await page.screenshot("test-failed")
        second = next(url for url in asked if url != first)
        # Of a deployment that a newer one has replaced nothing is asked any more.
        assert first not in asked[asked.index(second) :]

        await page.set_widget(picture, "width", 48)
        await press_deploy(page, deploy)
        await test.check()
        await agree(page)
        lease = await worker.lease(wait=20)
        assert lease is not None
        await worker.complete(lease, outputs=[await worker.upload(lease)])
        await page.toast("Version 3 passed its test and serves ✓")
        await expect(panel(page)).to_contain_text(re.compile(rf"Deployed ✓ \S+/{slug}, version 3"))
        assert page.alerts == []
