"""Settings > Runflow: password authentication switched on, worked with, changed and off again in the real editor."""

from collections.abc import Callable

import httpx
import pytest
from playwright.async_api import Locator, expect

from tests.browser.security import ACCOUNT, LOGIN, PASSWORD, queue, reconnected, remember_socket
from tests.support.editor import Editor
from tests.support.editor_fixtures import NEWEST, OpenPage
from tests.support.editor_page import EditorPage
from tests.support.oldest_comfyui import OLDEST

pytestmark = pytest.mark.browser


@pytest.fixture(params=[OLDEST, NEWEST])
def guarded(lend_editor: Callable[[str], Editor], request: pytest.FixtureRequest) -> Editor:
    """An editor of each version whose password may be set."""
    return lend_editor(request.param)


def toggle(dialog: Locator) -> Locator:
    return dialog.get_by_role("switch", name="Enable password authentication")


async def answer(page: EditorPage, button: str, current: str = "", repeated: str = "") -> None:
    """Press a button of our own dialog, with the current password and the new one where they are given."""
    dialog = page.page.locator(".runflow-dialog")
    if current:
        await dialog.get_by_label("Current password").fill(current)
    if repeated:
        await dialog.get_by_label("Repeat the").fill(repeated)
    await dialog.get_by_role("button", name=button).click()


async def test_the_password_is_switched_on_asked_for_and_switched_off(guarded: Editor, open_page: OpenPage) -> None:
    page = await open_page(guarded, http_credentials=ACCOUNT)
    dialog = await page.open_settings()
    username, password = (dialog.get_by_role("textbox", name=name) for name in ("Username", "Password"))
    await expect(toggle(dialog)).not_to_be_checked()
    await expect(password).to_have_attribute("placeholder", "12 characters or more")

    await toggle(dialog).click()
    assert await page.alert() == "Runflow: Fill in Username and Password first."
    await username.fill("ann")
    await password.fill("too short")
    await toggle(dialog).click()
    assert await page.alert() == "Runflow: Take a password of 12 characters or more. Nothing has changed."
    await expect(page.page.locator(".runflow-dialog")).to_have_count(0)  # nobody is asked to repeat it
    await expect(toggle(dialog)).not_to_be_checked()

    await password.fill(PASSWORD)
    await remember_socket(page)
    await toggle(dialog).click()
    await expect(page.page.locator(".runflow-dialog")).to_contain_text("runflow_security.json")
    async with page.page.expect_event("dialog"):
        await answer(page, "Switch on", repeated=f"{PASSWORD}x")
    assert page.alerts[-1] == "Runflow: The two new passwords differ. Nothing has changed."
    await expect(toggle(dialog)).not_to_be_checked()
    await toggle(dialog).click()
    await page.screenshot("what-happens")
    await answer(page, "Switch on", repeated=PASSWORD)
    await expect(toggle(dialog)).to_be_checked()
    await page.toast("Password authentication is on")
    await expect(password).to_have_value("")
    await page.screenshot("on")
    assert httpx.get(f"{guarded.url}/prompt", timeout=30).status_code == 401
    assert httpx.get(f"{guarded.url}/prompt", auth=LOGIN, timeout=30).status_code == 200
    stored = guarded.comfyui / "runflow_security.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    for file in (stored, guarded.base / "user/default/comfy.settings.json", guarded.base / "comfyui.log"):
        assert PASSWORD not in file.read_text()

    # Its websocket was closed and is open again, with the password.
    await reconnected(page)
    await queue(page)

    # It goes on across a restart: the browser sends the password, and the page finds its way back.
    await remember_socket(page)
    guarded.stop()
    guarded.start()
    await reconnected(page)
    await page.page.wait_for_function("async () => (await fetch('/runflow/info').catch(() => ({}))).status === 200")
    await queue(page)

    stranger = await open_page_anyway(page, guarded)
    assert stranger == (401, "runflow_security.json")

    await toggle(dialog).click()
    async with page.page.expect_event("dialog"):
        await answer(page, "Switch off", "not the password")
    assert page.alerts[-1] == "Runflow: That is not the current password."
    await expect(toggle(dialog)).to_be_checked()
    await toggle(dialog).click()
    await page.screenshot("switch-off")
    await remember_socket(page)
    await answer(page, "Switch off", PASSWORD)
    await expect(toggle(dialog)).not_to_be_checked()
    await expect(username).to_have_value("")
    assert not stored.exists()
    assert httpx.get(f"{guarded.url}/prompt", timeout=30).status_code == 200
    await reconnected(page)
    await queue(page)
    page.faults.clear()  # requests of the page that were refused until the browser knew the password


async def open_page_anyway(page: EditorPage, editor: Editor) -> tuple[int, str]:
    """Open the editor in a profile with a wrong password: the status, and the way back that the page names."""
    assert page.page.context.browser
    wrong = {"username": "ann", "password": "a wrong password"}
    context = await page.page.context.browser.new_context(http_credentials=wrong)  # type: ignore[arg-type]
    try:
        opened = await context.new_page()
        shown = await opened.goto(editor.url)
        assert shown
        text = await opened.inner_text("body")
        return shown.status, "runflow_security.json" if "runflow_security.json" in text else text
    finally:
        await context.close()


async def test_a_changed_password_is_asked_for_anew(lend_editor: Callable[[str], Editor], open_page: OpenPage) -> None:
    editor = lend_editor(NEWEST)
    httpx.put(f"{editor.url}/runflow/security/password", json=ACCOUNT, timeout=30).raise_for_status()
    page = await open_page(editor, http_credentials=ACCOUNT)
    dialog = await page.open_settings()
    username, password = (dialog.get_by_role("textbox", name=name) for name in ("Username", "Password"))
    await expect(username).to_have_value("ann")
    await expect(password).to_have_attribute("placeholder", "set; type to change")
    change = dialog.get_by_role("button", name="Change")
    await expect(change).to_be_disabled()
    await username.fill("änn")
    await password.fill("a new password 密码")
    await change.click()
    await page.screenshot("change")
    await answer(page, "Change", PASSWORD, repeated="a new password 密码")
    await page.toast("are changed")
    assert httpx.get(f"{editor.url}/prompt", auth=LOGIN, timeout=30).status_code == 401
    assert httpx.get(f"{editor.url}/prompt", auth=("änn", "a new password 密码"), timeout=30).status_code == 200
    page.faults.clear()  # this browser has the old password still
    # The next start asks for it too, and this page's stale password is one guess, however often it is sent.
    editor.stop()
    editor.start()
    assert httpx.get(f"{editor.url}/", auth=("änn", "a new password 密码"), timeout=30).status_code == 200
    assert httpx.get(f"{editor.url}/", timeout=30).status_code == 401
