"""From `runflow editor` to a deployed endpoint, without typing an address or a key."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.support.platform_fixtures import Platform, free_port, until

pytestmark = pytest.mark.browser


@contextmanager
def editor_of(platform: Platform, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "runflow", "editor", "--port", str(port), "--no-browser"]
    with (platform.home / "editor-command.log").open("wb") as log:
        process = subprocess.Popen(command, env=platform._env, stdout=log, stderr=log)
    said = platform.home / "editor-command.log"
    try:
        until(lambda: "Ctrl-C" in said.read_text(), f"the editor; see {said}", 300)
        yield next(word for word in said.read_text().split() if "template=" in word)
    finally:
        process.terminate()
        assert process.wait(60) == 0
    until(lambda: not any(str(port) in " ".join(one.cmdline()) for one in platform.processes()), "ComfyUI's end", 60)


async def test_the_sample_is_deployed_with_what_was_filled_in(
    platform: Platform, platform_key: str, chromium: Browser
) -> None:
    with editor_of(platform, free_port()) as address:
        page = await chromium.new_page(viewport={"width": 1500, "height": 950})
        await page.goto(address)
        await page.wait_for_function(
            "() => window.app?.graph?._nodes?.some(node => node.type === 'RunflowDeploy')", timeout=120_000
        )
        # A dialog of templates or of missing models would lie over the sample.
        assert await page.locator("[role=dialog]:visible").count() == 0
        await page.evaluate(
            """() => {
                const node = window.app.graph._nodes.find(node => node.type === 'RunflowDeploy')
                node.widgets.find(widget => widget.name === 'Deploy' || widget.label === 'Deploy').callback()
            }"""
        )
        await expect(page.get_by_text(platform.url).first).to_be_visible(timeout=60_000)
        await page.get_by_role("button", name="Deploy", exact=True).last.click()
        headers = {"Authorization": f"Bearer {platform_key}"}

        def deployed() -> dict[str, Any] | None:
            path = f"{platform.url}/v1/comfyui-workflows/default/dream-photo?embed=inputs"
            answer = httpx.get(path, headers=headers, timeout=30)
            return answer.json() if answer.status_code == 200 else None

        until(deployed, "the endpoint", 120)
        found = deployed()
        await page.close()
    assert found is not None
    assert [row["name"] for row in found["inputs"]] == ["photo", "size", "strength", "style"]
