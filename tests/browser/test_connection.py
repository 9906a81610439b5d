"""Settings > Runflow > Connection."""

import asyncio
import json

import httpx
import pytest
from playwright.async_api import Locator, expect

from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage

pytestmark = pytest.mark.browser

KEY = "rf_live_" + "s" * 36 + "4321"


async def becomes_true(field: Locator, condition: str) -> None:
    """Wait until something holds for a field: the editor takes a moment to lay itself out."""
    async with asyncio.timeout(60):
        while not await field.evaluate(condition):
            await asyncio.sleep(0.05)


async def test_a_key_is_saved_shown_by_its_end_and_forgotten(every_editor: Editor, open_page: OpenPage) -> None:
    editor = every_editor
    page = await open_page(editor)
    dialog = await page.open_settings()
    field = dialog.get_by_role("textbox", name="API key")
    await expect(field).to_have_attribute("placeholder", "rf_live_…")
    await field.fill(KEY)
    await field.press("Enter")
    await page.toast("API key saved")
    await expect(field).to_have_attribute("placeholder", "stored, ends in 4321")
    await expect(field).to_have_value("")
    await page.screenshot("settings")

    settings = httpx.get(f"{editor.url}/settings", timeout=30).text
    assert KEY not in settings
    assert KEY not in (editor.base / "user/default/comfy.settings.json").read_text()
    kept = editor.base / "user/__runflow/keys.json"
    assert json.loads(kept.read_text()) == {"default": {"key": KEY, "origin": "https://api.runflow.io"}}
    assert kept.stat().st_mode & 0o777 == 0o600
    for route in ("/userdata/..%2F__runflow%2Fkeys.json", "/userdata/__runflow%2Fkeys.json", "/runflow/connection"):
        assert KEY not in httpx.get(editor.url + route, timeout=30).text

    # It is for one server, and the panel says so when another one is named.
    address = dialog.locator('input[id="Runflow.ApiUrl"]')
    await address.fill("http://elsewhere.example:8700/")
    await address.press("Tab")
    await expect(dialog).to_contain_text(
        "The stored key, …4321, is for https://api.runflow.io. Paste one of http://elsewhere.example:8700."
    )
    await expect(field).to_have_attribute("placeholder", "rf_live_…")
    await page.screenshot("another-server")
    await address.fill("https://api.runflow.io")
    await address.press("Tab")
    await expect(field).to_have_attribute("placeholder", "stored, ends in 4321")

    # An address is seen to its end, and on a phone everything stays within the panel.
    await expect(address).to_have_value("https://api.runflow.io")
    await becomes_true(address, "field => field.scrollWidth <= field.clientWidth")
    await page.page.set_viewport_size({"width": 390, "height": 800})
    for name in ("API key", "Username", "Password"):
        field_on_phone = dialog.get_by_role("textbox", name=name, exact=True)
        await becomes_true(field_on_phone, "field => field.getBoundingClientRect().right <= innerWidth - 20")
    await page.screenshot("phone")
    await page.page.set_viewport_size({"width": 1280, "height": 800})

    await dialog.get_by_role("button", name="Forget").click()
    await expect(field).to_have_attribute("placeholder", "rf_live_…")
    assert json.loads(kept.read_text()) == {}


async def test_a_key_that_a_script_puts_into_comfyuis_settings_is_taken_out(
    editor: Editor, open_page: OpenPage
) -> None:
    with httpx.Client(base_url=editor.url, timeout=30) as client:
        for route, body in {"/settings/Runflow.ApiKey": KEY, "/api/settings": {"Runflow.ApiKey": KEY}}.items():
            client.post(route, json=body).raise_for_status()
            assert KEY not in (editor.base / "user/default/comfy.settings.json").read_text()
            assert client.get("/runflow/connection").json()["key_hint"] == "4321"
            assert client.delete("/runflow/connection/key").json()["key_hint"] is None
        # As an older plugin left it.
        file = editor.base / "user/default/comfy.settings.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "Runflow.ApiKey": KEY}))
        page = await open_page(editor)
        assert "Runflow.ApiKey" not in client.get("/settings").json()
        assert await page.page.evaluate("app.extensionManager.setting.get('Runflow.ApiKey')") in ("", None)
        assert client.get("/runflow/connection").json()["key_hint"] == "4321"
        client.post("/settings/Runflow.ApiKey", json="").raise_for_status()
        assert client.get("/runflow/connection").json()["key_hint"] is None
