"""Settings > Runflow > Connection."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Locator, Route, expect

from tests.browser.stranger import answering
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage, StartEditor
from tests.support.editor_page import EditorPage
from tests.support.platform_fixtures import Platform

pytestmark = pytest.mark.browser

KEY = "rf_live_" + "s" * 36 + "4321"
NOWHERE = "http://127.0.0.1:1"


async def becomes_true(field: Locator, condition: str) -> None:
    """Wait until something holds for a field: the editor takes a moment to lay itself out."""
    async with asyncio.timeout(60):
        while not await field.evaluate(condition):
            await asyncio.sleep(0.05)


@pytest.fixture
def unconnected(every_editor: Editor) -> Iterator[Editor]:
    """Each editor; afterwards there is neither address nor key."""
    yield every_editor
    with httpx.Client(base_url=every_editor.url, timeout=30) as client:
        client.delete("/runflow/connection/key").raise_for_status()
        client.post("/settings/Runflow.ApiUrl", json="").raise_for_status()


@pytest.fixture
async def panel(unconnected: Editor, open_page: OpenPage) -> tuple[EditorPage, Locator]:
    """The settings of each editor, open."""
    page = await open_page(unconnected)
    return page, await page.open_settings()


def fields(dialog: Locator) -> tuple[Locator, Locator, Locator]:
    """The field for the address, that for the key, and Save."""
    address, key = (dialog.locator('input[id="Runflow.ApiUrl"]'), dialog.get_by_role("textbox", name="API key"))
    return address, key, dialog.get_by_role("button", name="Save", exact=True)


async def test_a_key_is_saved_shown_by_its_end_and_forgotten(
    every_editor: Editor, panel: tuple[EditorPage, Locator]
) -> None:
    (page, dialog), editor = panel, every_editor
    address, field, save = fields(dialog)
    await expect(dialog).to_contain_text("No Runflow server answers on this machine. Start one with runflow up")
    await expect(address).to_have_value("")
    await expect(field).to_have_attribute("placeholder", "rf_live_…")
    await page.screenshot("no-server")
    await expect(save).to_be_disabled()
    await address.fill("127.0.0.1:1")
    await field.fill(KEY)
    await save.click()
    await expect(dialog).to_contain_text("It begins with http:// or https://: http://127.0.0.1:1?")
    await address.fill(f"{NOWHERE}/")
    await field.press("Enter")
    await page.toast("API key saved")
    await expect(dialog).to_contain_text(f"{NOWHERE} could not be reached: nothing listens there.")
    await expect(dialog).not_to_contain_text("No Runflow server answers on this machine.")
    await expect(field).to_have_attribute("placeholder", "stored, ends in 4321")
    await expect(field).to_have_value("")
    await page.screenshot("settings")

    settings = httpx.get(f"{editor.url}/settings", timeout=30)
    assert KEY not in settings.text
    assert settings.json()["Runflow.ApiUrl"] == f"{NOWHERE}/"
    assert KEY not in (editor.base / "user/default/comfy.settings.json").read_text()
    kept = editor.base / "user/__runflow/keys.json"
    assert json.loads(kept.read_text()) == {"default": {"key": KEY, "origin": NOWHERE}}
    assert kept.stat().st_mode & 0o777 == 0o600
    for route in ("/userdata/..%2F__runflow%2Fkeys.json", "/userdata/__runflow%2Fkeys.json", "/runflow/connection"):
        assert KEY not in httpx.get(editor.url + route, timeout=30).text

    # It is for one server, and the panel says so when another one is named.
    await address.fill("http://elsewhere.example:8700/")
    await address.press("Tab")
    await expect(dialog).to_contain_text(
        f"The stored key, …4321, is for {NOWHERE}. Paste one of http://elsewhere.example:8700."
    )
    await expect(field).to_have_attribute("placeholder", "rf_live_…")
    await page.screenshot("another-server")
    for text in ("localhost:8700", "127.0.0.1:8700"):
        await address.fill(text)
        await address.press("Tab")
        await expect(dialog).to_contain_text(f"It begins with http:// or https://: http://{text}?")
        await expect(dialog).not_to_contain_text("Paste one of")
    await page.screenshot("no-scheme")
    await address.fill(NOWHERE)
    await address.press("Tab")
    await expect(field).to_have_attribute("placeholder", "stored, ends in 4321")

    # An address is seen to its end, and on a phone everything stays within the panel.
    await expect(address).to_have_value(NOWHERE)
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


async def test_an_answer_from_before_the_key_was_stored_changes_nothing(
    unconnected: Editor, open_page: OpenPage
) -> None:
    page = await open_page(unconnected)
    stored, late = asyncio.Event(), []

    async def hold(route: Route) -> None:
        answer = await route.fetch()
        await stored.wait()
        await route.fulfill(response=answer)
        late.append(await answer.json())

    await page.page.route("**/runflow/connection", hold)
    address, field, save = fields(await page.open_settings())
    await address.fill(NOWHERE)
    await field.fill(KEY)
    await save.click()
    await page.toast("API key saved")
    stored.set()
    async with asyncio.timeout(60):
        while len(late) < 2:
            await asyncio.sleep(0.02)
    assert {told["key_hint"] for told in late} == {None}
    await expect(field).to_have_attribute("placeholder", "stored, ends in 4321")
    await expect(field).to_have_value("")


async def test_save_says_at_once_whether_the_key_may_deploy(
    panel: tuple[EditorPage, Locator], platform: Platform, platform_key: str
) -> None:
    page, dialog = panel
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30) as client:
        reader = client.post("/v1/api-keys", json={"name": "reader", "scopes": ["comfyui-workflows:read"]}).json()[
            "key"
        ]
    address, field, save = fields(dialog)
    with answering() as stranger:
        for url, key, said in (
            (platform.url, platform_key, "Connected: default, may deploy."),
            (platform.url, reader, "this key may not deploy: it lacks comfyui-workflows:create"),
            (platform.url, KEY, f"{platform.url} does not know this key"),
            (stranger.url, KEY, f"There is no Runflow server at {stranger.url}"),
            (platform.url, platform_key, "Connected: default, may deploy."),
        ):
            await address.fill(url)
            await field.fill(key)
            await save.click()
            await expect(dialog.get_by_role("status").filter(has_text=said)).to_be_visible()
    await page.screenshot("connected")
    # Whoever presses Save again asks again.
    await save.click()
    await expect(dialog.get_by_role("status").filter(has_text="Connected: default")).to_be_visible()
    found = await Axe().run(page.page, context=".runflow-connection")
    assert found.violations_count == 0, found.generate_report()


async def test_the_server_of_this_machine_is_the_default_when_it_answers(
    own_editor: StartEditor, open_page: OpenPage, platform: Platform, platform_key: str
) -> None:
    editor = own_editor(environment={"RUNFLOW_URL": platform.url})
    page = await open_page(editor)
    dialog = await page.open_settings()
    address, field, _ = fields(dialog)
    await expect(address).to_have_value(platform.url)
    await expect(dialog).to_contain_text("Found on this machine.")
    assert "Runflow.ApiUrl" not in httpx.get(f"{editor.url}/settings", timeout=30).json()
    await page.screenshot("found")
    await field.fill(platform_key)
    await field.press("Enter")
    await expect(dialog).to_contain_text("Connected: default, may deploy.")
    assert httpx.get(f"{editor.url}/settings", timeout=30).json()["Runflow.ApiUrl"] == platform.url
    # The hosted server stays a choice, and no key of ours goes there.
    options = page.page.locator("#runflow-servers option")
    await expect(options).to_have_count(2)
    offered = await options.evaluate_all("all => all.map(({ value }) => value)")
    assert offered == [platform.url, "https://api.runflow.io"]


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
