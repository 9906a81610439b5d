"""What the tests of the playground share: workflows in the editor, and the playground's page."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from PIL import Image
from playwright.async_api import ConsoleMessage, Page, expect

from tests.support.editor_page import EMPTY, EditorPage


def save_picture(path: Path, size: tuple[int, int] = (96, 64)) -> Path:
    """A sun over the sea, in soft colours."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, width / height, width), np.linspace(0, 1, height))
    sea = y > 0.62
    red, green, blue = np.where(sea, 0.1, 0.95 - 0.3 * y), np.where(sea, 0.5 - 0.3 * y, 0.55), np.where(sea, 0.6, 0.4)
    sun = (np.hypot(x - 0.75, y - 0.42) < 0.16) & ~sea
    pixels = np.stack([np.where(sun, 1, red), np.where(sun, 0.9, green), np.where(sun, 0.6, blue)], axis=-1)
    Image.fromarray((pixels * 255).astype(np.uint8)).save(path)
    return path


async def build_picture_flow(page: EditorPage, name: str) -> str:
    """A picture is scaled to a given width, inverted and saved. Returns the Deploy node's id."""
    await page.load(EMPTY)
    local = await page.add("LoadImage", 40, 40)
    photo = await page.add(
        "RunflowInputImage", 400, 40, input_id="photo", display_name="Photo", description="The picture to invert."
    )
    width = await page.add(
        "RunflowInputInt", 400, 300, input_id="width", display_name="Width", description="In pixels, 16 to 1024."
    )
    caption = await page.add("RunflowInputString", 400, 560, input_id="caption", display_name="Caption", required=False)
    text = await page.add("StringConcatenate", 760, 560, string_a="caption: ")
    shown = await page.add("PreviewAny", 1100, 560)
    scale = await page.add("ImageScale", 760, 40, upscale_method="bilinear", height=0, crop="disabled")
    invert = await page.add("ImageInvert", 1100, 40)
    output = await page.add("RunflowOutputImage", 1400, 40, output_id="inverted", output_name="Inverted picture")
    deploy = await page.add("RunflowDeploy", 40, 460, endpoint_name=name)
    await page.connect(local, 0, photo, "value")
    await page.connect(photo, 0, scale, "image")
    await page.connect(width, 0, scale, "width")
    await page.connect(scale, 0, invert, "image")
    await page.connect(invert, 0, output, "value")
    await page.connect(caption, 0, text, "string_b")
    await page.connect(text, 0, shown, "source")
    return deploy


class Playground:
    """An open playground. Whatever the console says as an error, its policy's included, is a fault."""

    def __init__(self, page: Page, shots: Path) -> None:
        self.page = page
        self.shots = shots
        self.faults: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    @classmethod
    async def opened_by(cls, page: EditorPage, deploy: str) -> "Playground":
        """Press the button and take the tab that it opens."""
        async with page.page.context.expect_page() as opened:
            await page.press(deploy, "Local Playground")
        tab = await opened.value
        ours = cls(tab, page.shots)
        await tab.wait_for_url(re.compile("/runflow/playground/"))
        await expect(tab.get_by_role("button", name="Run", exact=True)).to_be_visible()
        return ours

    async def is_accessible(self) -> None:
        """axe-core finds nothing that keeps people out who use a keyboard or a screen reader, or see little."""
        found = await Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    async def drop(self, label: str, name: str, size: int) -> None:
        """Drop a file whose bytes count 0 to 255, again and again, on a field."""
        script = """([name, size]) => {
            const dropped = new DataTransfer()
            const bytes = Uint8Array.from({ length: size }, (_, index) => index % 256)
            dropped.items.add(new File([bytes], name))
            return dropped
        }"""
        dropped = await self.page.evaluate_handle(script, [name, size])
        await self.field(label).locator(".rf-drop").dispatch_event("drop", {"dataTransfer": dropped})
        await expect(self.field(label).locator(".rf-drop")).to_contain_text(Path(name).stem)

    async def run(self) -> None:
        await self.page.get_by_role("button", name="Run", exact=True).click()

    async def choose(self, label: str, file: Path) -> None:
        await self.page.get_by_label(label, exact=True).set_input_files(file)
        await expect(self.field(label).locator(".rf-drop")).to_contain_text(file.stem)

    def field(self, label: str) -> Any:
        return self.page.locator(".rf-field").filter(has_text=label)

    async def ended(self, status: str) -> None:
        await expect(self.page.locator("runflow-run .rf-status")).to_have_text(status)

    async def shot(self, name: str, *, whole: bool = False) -> None:
        self.shots.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=self.shots / f"{name}.png", full_page=whole)
