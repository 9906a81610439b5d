"""Whoever deploys and is the operator approves new code in the summary, once; anybody else is not asked."""

from collections.abc import Iterator
from pathlib import Path

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


def state(server: httpx.Client, origin: str) -> str:
    (source,) = server.get("/v1/sources", params={"q": f"origin:'{origin}'"}).json()["items"]
    return str(source["state_code"])


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

        # Without the tick it is deployed, and goes on waiting.
        await box.uncheck()
        await agree(page)
        await page.toast("Deployed")
        assert state(server, origin) == "waiting"

        await press_deploy(page, deploy)
        await expect(box).to_be_checked()
        await agree(page)
        await page.toast("nothing has changed")
        assert state(server, origin) == "approved"

        await press_deploy(page, deploy)
        await expect(shown).to_contain_text("Custom nodes it needs")
        await expect(shown).not_to_contain_text("New code for your workers")
        assert page.alerts == []


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
    assert state(server, origin) == "waiting"
