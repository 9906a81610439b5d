"""Whoever deploys and is the operator approves new code in the summary, once; anybody else is not asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, expect

from tests.browser.connection import connection
from tests.support.deploy_dialog import agree, press_deploy
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage, StartEditor
from tests.support.editor_page import EMPTY, EditorPage
from tests.support.git_repository import git
from tests.support.platform_fixtures import Platform
from tests.support.sources import fresh_origin

pytestmark = pytest.mark.browser

PACK = """
class Grow:
    CATEGORY, FUNCTION, RETURN_TYPES = "Test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        return (image,)


NODE_CLASS_MAPPINGS = {"GrowOnlyHere": Grow}
"""


@pytest.fixture
def origin() -> str:
    return fresh_origin()


@pytest.fixture
def pack(tmp_path: Path, origin: str) -> Path:
    """A node pack that is a checkout of a repository, and is there before the editor starts."""
    folder = tmp_path / "editor-0" / "custom_nodes" / "grow"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PACK)
    git(folder, "init")
    git(folder, "remote", "add", "origin", f"{origin}.git")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "Grow")
    return folder


@pytest.fixture
def editor_with_pack(own_editor: StartEditor, pack: Path) -> Editor:
    return own_editor()


@pytest.fixture
def server(platform: Platform, platform_key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30) as client:
        yield client


async def build(page: EditorPage, name: str) -> str:
    await page.load(EMPTY)
    square = await page.add("EmptyImage", 40, 40, width=16, height=16)
    grow = await page.add("GrowOnlyHere", 400, 40)
    output = await page.add("RunflowOutputImage", 720, 40, output_id="larger")
    deploy = await page.add("RunflowDeploy", 400, 300, endpoint_name=name)
    await page.connect(square, 0, grow, "image")
    await page.connect(grow, 0, output, "value")
    return deploy


def state(server: httpx.Client, origin: str, commit: str = "") -> str:
    rows = server.get("/v1/sources", params={"q": f"origin:'{origin}'"}).json()["items"]
    (source,) = [row for row in rows if commit in row["commit"]]
    return str(source["state_code"])


def found(server: httpx.Client, editor: Editor) -> dict[str, Any]:
    (workflow,) = server.get("/v1/comfyui-workflows", params={"q": f"slug:grow-{editor.port}"}).json()["items"]
    return dict(workflow)


def dialog(page: EditorPage) -> Locator:
    return page.page.get_by_role("dialog", name="Deploy “")


async def test_the_operator_is_asked_once(
    editor_with_pack: Editor,
    pack: Path,
    origin: str,
    platform: Platform,
    platform_key: str,
    server: httpx.Client,
    open_page: OpenPage,
) -> None:
    commit = git(pack, "rev-parse", "HEAD")
    with connection(editor_with_pack, platform.url, platform_key):
        page = await open_page(editor_with_pack)
        deploy = await build(page, f"Grow {editor_with_pack.port}")
        await press_deploy(page, deploy)
        shown, box = dialog(page), dialog(page).get_by_role("checkbox", name="Approve this code")
        await expect(shown).to_contain_text("New code for your workers (1)")
        await expect(shown).to_contain_text(f"and run itgrow: {origin}.git at {commit[:10]}")
        await expect(box).to_be_checked()
        await expect(box).to_be_in_viewport()
        await page.screenshot("approval")

        # Without the tick it is deployed, and goes on waiting; the node says for what, and takes the approval as well.
        await expect(shown.get_by_role("checkbox", name="Prepare a machine now")).to_be_checked()
        await box.uncheck()
        await agree(page)
        await page.toast("Deployed")
        assert state(server, origin) == "waiting"
        panel = page.page.get_by_role("region", name="Deployed: ")
        await expect(panel).to_contain_text("Preparing a machine waits for approval")
        await expect(panel).to_contain_text(f"{origin} at {commit[:10]}")
        await page.screenshot("waits")
        await panel.get_by_role("button", name="Approve this code").click()
        await expect(panel).not_to_contain_text("waits for approval")
        assert state(server, origin) == "approved"

        git(pack, "commit", "--allow-empty", "-m", "Grow more")
        await press_deploy(page, deploy)
        await expect(box).to_be_checked()
        await agree(page)
        await page.toast("version 2")
        assert state(server, origin, git(pack, "rev-parse", "HEAD")) == "approved"

        await press_deploy(page, deploy)
        await expect(shown).to_contain_text("Custom nodes it needs")
        await expect(shown).not_to_contain_text("New code for your workers")
        assert page.alerts == []
    # No worker goes on with it while other tests run.
    server.delete(f"/v1/comfyui-workflows/{found(server, editor_with_pack)['id']}").raise_for_status()


async def test_a_key_without_the_scope_is_not_asked(
    editor_with_pack: Editor, origin: str, platform: Platform, server: httpx.Client, open_page: OpenPage
) -> None:
    scopes = ["comfyui-workflows:read", "comfyui-workflows:create", "comfyui-workflows:edit"]
    answer = server.post("/v1/api-keys", json={"name": "author", "scopes": scopes})
    with connection(editor_with_pack, platform.url, answer.json()["key"]):
        page = await open_page(editor_with_pack)
        deploy = await build(page, f"Author {editor_with_pack.port}")
        await press_deploy(page, deploy)
        await expect(dialog(page)).to_contain_text("Custom nodes it needs")
        await expect(dialog(page)).not_to_contain_text("New code for your workers")
        await agree(page)
        await page.toast("Deployed")
        panel = page.page.get_by_role("region", name="Deployed: ")
        await expect(panel).to_contain_text("its operator runs these commands")
        await expect(panel).to_contain_text(f"runflow sources approve {origin}@")
        await expect(panel.get_by_role("button", name="Approve this code")).to_have_count(0)
    assert state(server, origin) == "waiting"
