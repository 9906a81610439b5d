"""What the tests of the security panel share: an account, and a prompt that is queued and heard of as a person does."""

import httpx

from tests.support.editor import Editor
from tests.support.editor_page import EditorPage

PASSWORD = "correct horse battery"
ACCOUNT = {"username": "ann", "password": PASSWORD}
LOGIN = ("ann", PASSWORD)

_PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
_QUEUE = """async (prompt) => {
    const heard = new Promise((resolve, reject) => {
        app.api.addEventListener("execution_success", (event) => resolve(event.detail.prompt_id))
        setTimeout(() => reject(new Error("nothing heard on the websocket")), 60000)
    })
    const answer = await app.api.fetchApi("/prompt", {
        method: "POST", headers: {"Content-Type": "application/json"},
        body: JSON.stringify({prompt, client_id: app.api.clientId}),
    })
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
    const { prompt_id } = await answer.json()
    if (await heard !== prompt_id) throw new Error("heard of another prompt")
    return prompt_id
}"""


def switch_on(editor: Editor) -> None:
    """Switch password authentication on, past the page."""
    httpx.put(f"{editor.url}/runflow/security/password", json=ACCOUNT, timeout=30).raise_for_status()


async def remember_socket(page: EditorPage) -> None:
    """Before what closes the page's websocket: `reconnected` waits for another one."""
    await page.page.evaluate("() => { window.before = app.api.socket }")


async def reconnected(page: EditorPage) -> None:
    """Wait until the page has given up the websocket that was remembered."""
    await page.page.wait_for_function("() => app.api.socket !== window.before")


async def queue(page: EditorPage) -> None:
    """Queue a prompt from the page, and wait until its websocket tells the end and the history has it."""
    await page.page.wait_for_function("() => app.api.socket?.readyState === 1")
    prompt_id = await page.page.evaluate(_QUEUE, _PROMPT)
    # ComfyUI says `execution_success` before it writes the history.
    kept = "async (id) => id in await (await app.api.fetchApi(`/history/${id}`)).json()"
    await page.page.wait_for_function(kept, arg=prompt_id, timeout=60_000)
