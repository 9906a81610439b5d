"""The middleware: who gets in, and what the others are told."""

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from plugin import process_secret
from plugin.security.authenticator import Authenticator
from plugin.security.login_throttle import FREE
from tests.plugin.security.conftest import Client, login

ANN = login()


async def test_off_changes_nothing(client: Client) -> None:
    answer = await client.get("/")
    assert answer.status == 200
    assert "X-Frame-Options" not in answer.headers
    assert (await client.get("/nothing")).status == 404


@pytest.mark.parametrize("path", ["/", "/prompt", "/runflow/info", "/runflow/security", "/nothing", "/ws"])
async def test_on_asks_everywhere(client: Client, switched_on: Authenticator, path: str) -> None:
    for headers in ({}, {"Authorization": "Basic"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic \xff"}):
        answer = await client.get(path, headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="ComfyUI", charset="UTF-8"'
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await answer.json())["code"] == "UNAUTHORIZED"
        assert "Set-Cookie" not in answer.headers
    page = await client.get(path, headers={"Accept": "text/html,*/*"})
    assert "runflow_security.json" in await page.text()
    assert page.content_type == "text/html"


async def test_the_right_password_gets_in(client: Client, switched_on: Authenticator) -> None:
    assert await (await client.get("/", headers=ANN)).text() == "the editor"
    assert (await client.get("/nothing", headers=ANN)).status == 404
    assert await (await client.post("/prompt", headers=ANN, json={"a": 1})).json() == {"a": 1}
    async with client.ws_connect("/ws", headers={**ANN}) as socket:
        assert await socket.receive_json() == {"type": "status"}
    assert (await client.get("/", headers=login("ann", "wrong"))).status == 401


async def test_a_websocket_without_the_password_is_refused(client: Client, switched_on: Authenticator) -> None:
    for headers in ({}, login("ann", "wrong"), {"Cookie": "runflow_socket_1=x"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/ws", headers=headers)
        assert refused.value.status == 401


async def test_a_browser_that_sends_no_password_with_websockets_has_a_cookie(
    client: Client, switched_on: Authenticator
) -> None:
    browser = {"User-Agent": "Mozilla/5.0 (iPhone) Safari/605"}
    answer = await client.get("/", headers={**ANN, **browser})
    name, cookie = next(iter(answer.cookies.items()))
    assert name == f"runflow_socket_{client.port}"
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    async with client.ws_connect("/ws") as socket:  # the client sends its cookies
        assert await socket.receive_json() == {"type": "status"}
    assert "Set-Cookie" not in (await client.get("/", headers={**ANN, **browser})).headers
    for path in ("/", "/ws", "/prompt"):  # good for nothing else
        assert (await client.get(path)).status == 401
    switched_on.file.write(switched_on.account)  # type: ignore[arg-type]
    switched_on.look()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.ws_connect("/ws")


async def test_other_sites_are_refused_even_with_the_password(client: Client, switched_on: Authenticator) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        answer = await client.post("/prompt", json={}, headers={**ANN, **headers})
        assert (answer.status, (await answer.json())["code"]) == (403, "OTHER_SITE")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/ws", headers={**ANN, **headers})
        assert refused.value.status == 403
    answer = await client.get("/", headers=ANN)
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


async def test_guesses_have_to_wait(client: Client, switched_on: Authenticator) -> None:
    assert (await client.get("/", headers=ANN)).status == 200
    for guess in range(FREE):
        assert (await client.get("/", headers=login("ann", f"{guess}"))).status == 401
    answer = await client.get("/", headers=login("ann", "one more"))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert "WWW-Authenticate" not in answer.headers
    assert (await client.get("/", headers=ANN)).status == 200
    assert (await client.get("/")).status == 401


async def test_a_damaged_file_lets_nobody_in(client: Client, authenticator: Authenticator) -> None:
    authenticator.file.path.write_text('{"version": 1, "enabled": false}')
    authenticator.look()
    for auth in (None, ANN):
        answer = await client.get("/", headers=auth)
        assert answer.status == 503
        assert "delete it" in (await answer.json())["message"]
    authenticator.file.path.unlink()
    authenticator.look()
    assert (await client.get("/")).status == 200


async def test_our_own_requests_pass(client: Client, switched_on: Authenticator) -> None:
    assert (await client.get("/", headers=process_secret.headers())).status == 200
    async with client.ws_connect("/ws", headers=process_secret.headers()) as socket:
        assert await socket.receive_json() == {"type": "status"}
    for wrong in ("", "x", "\xff", process_secret.headers()[process_secret.HEADER][:-1]):
        assert (await client.get("/", headers={process_secret.HEADER: wrong})).status == 401


class Connection:
    """A transport that says who is at its ends."""

    def __init__(self, peer: object, own: object) -> None:
        self._ends = {"peername": peer, "sockname": own}

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._ends.get(name, default)


@pytest.mark.parametrize(
    ("peer", "own", "here"),
    [
        (("127.0.0.1", 5), ("127.0.0.1", 8188), True),
        (("127.8.8.8", 5), ("127.0.0.1", 8188), True),
        (("::1", 5, 0, 0), ("::1", 8188, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), ("::ffff:127.0.0.1", 8188, 0, 0), True),
        (("192.168.1.5", 5), ("192.168.1.5", 8188), True),
        (("fe80::1%eth0", 5, 0, 2), ("fe80::1%eth0", 8188, 0, 2), True),
        (("192.168.1.6", 5), ("192.168.1.5", 8188), False),
        (("203.0.113.9", 5), ("192.168.1.5", 8188), False),
        ("", "", False),
        (None, None, False),
    ],
)
def test_the_secret_is_good_on_this_machine_only(peer: object, own: object, here: bool) -> None:
    request = make_mocked_request("GET", "/", headers=process_secret.headers(), transport=Connection(peer, own))
    assert process_secret.accepts(request) is here
