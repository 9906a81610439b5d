"""The dialog in which a person agrees to a deployment."""

from playwright.async_api import expect

from tests.support.editor_page import EditorPage


async def press_deploy(page: EditorPage, deploy: str) -> None:
    """Press the button of a Deploy node, and wait for the dialog."""
    await page.press(deploy, "Deploy")
    await expect(page.page.get_by_role("dialog", name="Deploy “")).to_be_visible()


async def agree(page: EditorPage) -> None:
    """Press the button of the dialog."""
    await page.page.get_by_role("dialog", name="Deploy “").get_by_role("button", name="Deploy", exact=True).click()
