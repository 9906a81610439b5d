"""Settings > Runflow > Run security scan: the question first, then what was found; the services are of this machine."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, expect

from tests.browser.security import ACCOUNT, switch_on
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage, StartEditor
from tests.support.editor_page import EditorPage
from tests.support.services_double import ADDRESS, Services

pytestmark = pytest.mark.browser


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    """Services of this machine; the first one that is asked for the address fails."""
    made = Services()
    await made.server.start_server()
    yield made
    await made.server.close()


def environment(services: Services) -> dict[str, str]:
    return {
        "RUNFLOW_SCAN_ADDRESS_SERVICES": f"{services.url('/error')},{services.url('/ip')}",
        "RUNFLOW_SCAN_PORT_SERVICE": services.url("/ports"),
    }


async def start(page: EditorPage) -> Locator:
    """Press the button in Settings. Returns our dialog."""
    settings = await page.open_settings()
    await settings.get_by_role("button", name="Run security scan").click()
    return page.page.locator(".runflow-dialog")


async def test_a_local_comfyui_is_safe_and_nobody_is_asked_before_consent(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    dialog = await start(page)
    await expect(dialog).to_contain_text("Listens on 127.0.0.1")
    await expect(dialog).to_contain_text("this machine only")
    for service in ("portchecker.io", "api.ipify.org", "ifconfig.me", "icanhazip.com", "checkip.amazonaws.com"):
        await expect(dialog).to_contain_text(service)
    await expect(dialog).to_contain_text("No workflow data is sent.")
    await page.screenshot("question")
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_have_count(0)


async def test_an_exposed_comfyui_is_told_with_what_to_do(
    own_editor: StartEditor, open_page: OpenPage, services: Services
) -> None:
    everywhere = ("--listen", "0.0.0.0")
    editor = own_editor(separate=True, arguments=everywhere, environment=environment(services))
    services.open = {editor.port, 443}
    page = await open_page(editor)
    dialog = await start(page)
    await expect(dialog).to_contain_text("all network interfaces")
    assert services.asked == []
    await dialog.get_by_role("button", name="Agree and scan from outside").click()
    await expect(dialog).to_contain_text(f"Public address {ADDRESS}")
    assert services.asked == [{"host": ADDRESS, "ports": [editor.port, 80, 8080, 443]}]
    cells = [text.strip() for text in await dialog.locator(".runflow-scan span:not(.mark)").all_inner_texts()]
    found = dict(zip(cells[::2], cells[1::2], strict=True))
    assert found[f"Port {editor.port} (ComfyUI)"] == found["Port 443"] == "OPEN"
    assert found["Port 80"] == found["Port 8080"] == "closed"
    assert found[f"Listens on 0.0.0.0, port {editor.port}: all network interfaces"] == "exposed"
    assert found["Password authentication"] == "off"
    await expect(dialog).to_contain_text("Enable password authentication")
    await expect(dialog).to_contain_text("firewall")
    await expect(dialog).to_contain_text("without --listen")
    await expect(dialog).to_contain_text("HTTP 500")
    await page.screenshot("exposed")
    await dialog.get_by_role("button", name="Close").click()

    switch_on(editor)
    await services.server.close()
    page = await open_page(editor, http_credentials=ACCOUNT, color_scheme="light")
    dialog = await start(page)
    await dialog.get_by_role("button", name="Agree and scan from outside").click()
    await expect(dialog).to_contain_text("Not scanned.")
    await expect(dialog).to_contain_text("Listens on 0.0.0.0")
    await page.screenshot("services-gone")
