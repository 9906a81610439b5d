"""Auto setup in the real editors: a workflow that lacks a pack and models, the plan, the work, the restart."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, expect

from tests.support.autosetup_hosts import NODE, Host, Served, commit, safetensors, serve
from tests.support.editor import Editor
from tests.support.editor_fixtures import NEWEST, OpenPage, StartEditor
from tests.support.editor_page import EditorPage
from tests.support.oldest_comfyui import OLDEST

pytestmark = pytest.mark.browser

CONTENT = safetensors(6_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host of repositories and models."""
    async with serve(Host(tmp_path / "repositories")) as served:
        yield served


def workflow(host: Host, old: str) -> dict[str, Any]:
    """A workflow as somebody else saved it."""
    greet = node(1, "GreetSomebody", [60, 80])
    upscale = node(2, "UpscaleModelLoader", [60, 260])
    upscale["widgets_values"] = ["anime.safetensors"]
    upscale["properties"]["models"] = [
        {"name": "anime.safetensors", "url": f"{host.url}/anime.safetensors", "directory": "upscale_models",
         "hash": SHA256, "hash_type": "SHA256"},
        {"name": "photo.pth", "url": f"{host.url}/photo.pth", "directory": "upscale_models"},
        {"name": "../../../custom_nodes/evil.safetensors", "url": f"{host.url}/anime.safetensors",
         "directory": "loras"},
    ]  # fmt: skip
    # The editor keeps nothing of the file's own list.
    models = [{"name": "inner.safetensors", "url": "https://169.254.169.254/inner.safetensors", "directory": "loras"}]
    packs = {"ComfyUI-Greeter": {"origin": f"{host.url}/ComfyUI-Greeter", "commit": old, "dirty": False}}
    deploy = node(3, "RunflowDeploy", [480, 80])
    deploy["widgets_values"] = ["Greeting"]
    extra = {"runflow": {"version": 1, "custom_nodes": packs, "models": {}}}
    return {"nodes": [greet, upscale, deploy], "links": [], "version": 0.4, "extra": extra, "models": models}


def node(number: int, class_type: str, place: list[int]) -> dict[str, Any]:
    shape = {
        "id": number,
        "type": class_type,
        "pos": place,
        "size": [320, 120],
        "flags": {},
        "order": number,
        "mode": 0,
    }
    return {**shape, "inputs": [], "outputs": [], "properties": {"Node name for S&R": class_type}, "widgets_values": []}


def start(own_editor: StartEditor, host: Host, version: str) -> Editor:
    editor = own_editor(version, environment={"RUNFLOW_AUTOSETUP_ALLOWED_SOURCES": host.url})
    (editor.base / "models/upscale_models").mkdir(parents=True, exist_ok=True)
    return editor


async def press_auto_setup(page: EditorPage) -> Locator:
    (deploy,) = await page.find("RunflowDeploy")
    # The editor tells of missing nodes and models in a dialog of its own.
    await page.press(deploy, "Auto setup", close=True)
    dialog = page.page.get_by_role("dialog", name="Auto setup")
    await expect(dialog).to_be_visible()
    return dialog


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
async def test_what_a_workflow_lacks_is_shown_installed_and_there_after_the_restart(
    version: str, own_editor: StartEditor, open_page: OpenPage, host: Host
) -> None:
    repository = host.repositories / "ComfyUI-Greeter"
    files = {"__init__.py": NODE.format(name="GreetSomebody"), "requirements.txt": "pillow\n-r evil.txt\n"}
    old = commit(repository, {**files, "install.py": "raise SystemExit('never run')"})
    commit(repository, {"__init__.py": "raise ImportError('a newer one')"})
    host.files["/anime.safetensors"] = Served(CONTENT, breaks_at=[2_500_000], pause=0.02)
    host.files["/photo.pth"] = Served(CONTENT)
    editor = start(own_editor, host, version)
    page = await open_page(editor)
    await page.load(workflow(host, old))
    assert host.asked == []  # nothing happens because a workflow was opened

    dialog = await press_auto_setup(page)
    assert (await page.labels("3"))[-1] == "Auto setup"
    for label in ("Install missing custom nodes", "Download missing models"):
        await expect(dialog.get_by_label(label)).to_be_checked()
    await page.screenshot("start")
    await dialog.get_by_role("button", name="Start").click()

    await expect(dialog).to_contain_text("Custom nodes (1)")
    await expect(dialog).to_contain_text(f"git clone of {host.url}/ComfyUI-Greeter at {old[:12]}")
    await expect(dialog).to_contain_text("For the nodes GreetSomebody")
    await expect(dialog.get_by_label("upscale_models/anime.safetensors, 6.0 MB")).to_be_checked()
    await expect(dialog.get_by_label("upscale_models/photo.pth")).not_to_be_checked()
    await expect(dialog).to_contain_text("Missing, but not installed (2)")
    await expect(dialog).to_contain_text("the path leaves its folder")
    await expect(dialog).to_contain_text("169.254.169.254 is an address of this machine or of a private network")
    await page.screenshot("plan")
    # Whoever read the plan to its end sees the beginning of what comes then.
    await dialog.locator(".body").evaluate("body => { body.scrollTop = body.scrollHeight }")
    assert not any("upload-pack" in path and method == "POST" for method, path, _ in host.asked)
    await dialog.get_by_role("button", name="Install 2 of 3, 6.0 MB").click()

    await expect(dialog.get_by_role("button", name="Install these packages")).to_be_in_viewport()
    assert await dialog.locator(".body").evaluate("body => body.scrollTop") == 0
    await expect(dialog).to_contain_text("pip install pillow")
    await expect(dialog).to_contain_text("Not installed: -r evil.txt")
    await page.screenshot("packages")

    # The page is reloaded meanwhile; the job is not.
    await page.page.reload()
    await page.until_ready()
    await expect(dialog.get_by_role("button", name="Install these packages")).to_be_visible()
    await dialog.get_by_role("button", name="Install these packages").click()

    await expect(dialog).to_contain_text("2 of 2 installed. Restart ComfyUI to load the new nodes.")
    await page.screenshot("summary")
    assert (editor.base / "models/upscale_models/anime.safetensors").read_bytes() == CONTENT
    assert os.listdir(editor.base / "models/upscale_models") == ["anime.safetensors"]  # noqa: PTH208
    assert not (editor.base / "custom_nodes/evil.safetensors").exists()
    assert httpx.get(f"{editor.url}/object_info/GreetSomebody", timeout=30).json() == {}

    await dialog.get_by_role("button", name="Restart ComfyUI").click()
    await expect(dialog).to_contain_text("This page reloads when it is back")
    await page.screenshot("restarting")
    known = "() => Boolean(window.LiteGraph?.registered_node_types?.GreetSomebody)"
    await page.page.wait_for_function(known, timeout=180_000)
    assert "GreetSomebody" in httpx.get(f"{editor.url}/object_info/GreetSomebody", timeout=30).json()
    await page.until_ready()
    await page.load(workflow(host, old))
    dialog = await press_auto_setup(page)
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog).to_contain_text("Models (1)")
    await expect(dialog).not_to_contain_text("Custom nodes (")
    await page.screenshot("again")
    # The editor itself asks its registry about unknown nodes, which its own policy forbids here.
    page.faults[:] = [fault for fault in page.faults if "https://api.comfy.org/" not in fault]


async def test_cancel_leaves_nothing_and_a_failure_says_why(
    own_editor: StartEditor, open_page: OpenPage, host: Host
) -> None:
    commit(host.repositories / "ComfyUI-Greeter", {"__init__.py": NODE.format(name="GreetSomebody")})
    host.files["/anime.safetensors"] = Served(CONTENT, pause=0.5)
    host.files["/photo.pth"] = Served(CONTENT)
    editor = start(own_editor, host, NEWEST)
    page = await open_page(editor)
    await page.load(workflow(host, "f" * 40))
    dialog = await press_auto_setup(page)
    await dialog.get_by_role("button", name="Start").click()
    await dialog.get_by_role("button", name="Install 2 of 3").click()
    await expect(dialog).to_contain_text(f"the repository has no commit {'f' * 40}")
    await expect(dialog).to_contain_text("of 6.0 MB ·")
    await page.screenshot("progress")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_contain_text("0 of 2 installed, 1 failed, 1 cancelled.")
    await page.screenshot("cancelled")
    assert os.listdir(editor.base / "models/upscale_models") == []  # noqa: PTH208
    assert os.listdir(editor.base / "custom_nodes") == ["ComfyUI-Runflow"]  # noqa: PTH208
    await dialog.get_by_role("button", name="Close").click()

    # A workflow that lacks nothing.
    await page.load({"nodes": [node(1, "RunflowDeploy", [200, 200])], "links": [], "version": 0.4})
    dialog = await press_auto_setup(page)
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog).to_contain_text("Nothing is missing")
    await page.screenshot("nothing")
    await page.page.keyboard.press("Escape")  # the button that had the focus is gone, and the editor knows Escape, too
    await expect(dialog).to_have_count(0)

    # Two models for which the disk has room one at a time, and one that comes while the dialog is closed.
    deploy = node(1, "RunflowDeploy", [200, 200])
    much = shutil.disk_usage(editor.base).free * 7 // 10
    host.files |= {f"/{name}.safetensors": Served(CONTENT, announces=much) for name in ("one", "two")}
    goes_on = asyncio.Event()
    host.files["/anime.safetensors"] = Served(CONTENT, stalls=goes_on)
    models = [
        {"name": f"{name}.safetensors", "url": f"{host.url}/{name}.safetensors", "directory": "loras"}
        for name in ("one", "two", "anime")
    ]
    await page.load({"nodes": [deploy], "links": [], "version": 0.4, "models": models})
    dialog = await press_auto_setup(page)
    await dialog.get_by_role("button", name="Start").click()
    install = dialog.get_by_role("button", name="Install ")
    await expect(dialog).to_contain_text("but their disk has room for")
    await expect(install).to_be_disabled()
    await page.screenshot("no-room")
    for name in ("one", "two"):
        await dialog.get_by_label(f"loras/{name}.safetensors").uncheck()
    await install.click()
    await dialog.get_by_role("button", name="Continue in background").click()
    goes_on.set()
    await page.toast("Auto setup has ended")
    await page.screenshot("ended")
    dialog = await press_auto_setup(page)
    await expect(dialog).to_contain_text("1 of 1 installed.")
    await dialog.get_by_role("button", name="Look again").click()
    await expect(dialog.get_by_role("button", name="Start")).to_be_visible()
