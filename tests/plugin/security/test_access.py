"""Which routes of the plugin answer a page of another site that gave this ComfyUI a name of its own (DNS rebinding)."""

import re
from typing import Any

import pytest
from aiohttp import web

from plugin.routes import FEATURES
from plugin.security.access import NAMES_VARIABLE
from plugin.security.authenticator import Authenticator
from tests.plugin.security.conftest import Client, login

EVIL = {"Host": "evil.example:8188", "Origin": "http://evil.example:8188", "Sec-Fetch-Site": "same-origin"}
OPEN = {
    ("GET", "/runflow/info"),
    ("GET", "/runflow/security"),
    ("GET", "/runflow/autosetup/jobs/current"),
    ("POST", "/runflow/upload-input-file"),
}
"""What holds no secret and does no more than ComfyUI's own routes do for the same page; so does the playground."""
FROM_ANYWHERE = {
    ("PUT", "/runflow/security/password"),
    ("DELETE", "/runflow/security/password"),
    ("POST", "/runflow/security/scans"),
}
"""How somebody at another machine gets a password, so these ask for a name that is known, and for no more."""

GUARDED = [
    (method, path)
    for routes in FEATURES
    for method, path, _ in routes
    if (method, path) not in OPEN and not path.startswith("/runflow/playground/")
]


async def code_of(client: Client, method: str, path: str, headers: dict[str, str]) -> Any:
    answer = await client.request(method, re.sub(r"{\w+}", "x", path), json={}, headers=headers)
    return (await answer.json()).get("code")


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_password_a_name_of_another_site_gets_nothing(client: Client, method: str, path: str) -> None:
    assert await code_of(client, method, path, EVIL) == "NOT_AT_THIS_MACHINE"
    for name in ("127.0.0.1:8188", "localhost", "my.localhost:1", "[::1]:8188"):
        assert await code_of(client, method, path, {"Host": name}) != "NOT_AT_THIS_MACHINE"


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_password_other_machines_and_proxies_are_refused(
    client: Client, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = None if (method, path) in FROM_ANYWHERE else "NOT_AT_THIS_MACHINE"
    for name in ("192.168.1.7:8188", "box:8188", "box.local"):
        assert (await code_of(client, method, path, {"Host": name}) == "NOT_AT_THIS_MACHINE") == bool(refused)
    for header in ("X-Forwarded-For", "Via"):
        assert (await code_of(client, method, path, {header: "1.2.3.4"}) == "NOT_AT_THIS_MACHINE") == bool(refused)
    monkeypatch.setattr(web.Request, "remote", property(lambda _request: "192.168.1.7"))
    assert (await code_of(client, method, path, {}) == "NOT_AT_THIS_MACHINE") == bool(refused)


async def test_a_password_opens_them_under_every_name(client: Client, switched_on: Authenticator) -> None:
    assert switched_on.account is not None
    assert await code_of(client, "POST", "/runflow/deploy/jobs/x/confirmation", {**EVIL, **login()}) == "NOT_FOUND"


async def test_the_operator_may_give_the_names_under_which_people_come(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = ("POST", "/runflow/security/scans")
    assert await code_of(client, *scan, {"Host": "box.example.org"}) == "NOT_AT_THIS_MACHINE"
    monkeypatch.setenv(NAMES_VARIABLE, "other.example, Box.example.org")
    assert await code_of(client, *scan, {"Host": "box.example.org:443"}) is None
    assert await code_of(client, *scan, {"Host": "evil.example"}) == "NOT_AT_THIS_MACHINE"
    # The name tells nothing of who asks from where; the key needs a password as well.
    assert await code_of(client, "GET", "/runflow/connection", {"Host": "box.example.org"}) == "NOT_AT_THIS_MACHINE"


async def test_the_refusal_says_what_to_do(client: Client) -> None:
    answer = await client.get("/runflow/connection", headers=EVIL)
    message = (await answer.json())["message"]
    assert "under the name evil.example" in message
    assert "Switch password authentication on (Settings > Runflow), or open ComfyUI on its own machine" in message
    message = (await (await client.put("/runflow/security/password", json={}, headers=EVIL)).json())["message"]
    assert f"start it with {NAMES_VARIABLE}=evil.example" in message
