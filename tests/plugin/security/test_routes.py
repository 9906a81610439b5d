"""Switching the password on, changing it, switching it off; scans, which ask nobody before the person agrees."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from plugin import comfyui
from plugin.security.authenticator import Authenticator
from plugin.security.login_throttle import FREE
from tests.plugin.security.conftest import PASSWORD, Client, login
from tests.support.platform_fixtures import free_port
from tests.support.services_double import ADDRESS, Services

ROUTE = "/runflow/security/password"
SCANS = "/runflow/security/scans"
ANN = login()
ACCOUNT = {"username": "ann", "password": PASSWORD}


async def test_from_off_to_on_to_changed_to_off(client: Client, authenticator: Authenticator) -> None:
    off = await (await client.get("/runflow/security")).json()
    assert off == {"enabled": False, "username": "", "least_characters": 12, "file": "runflow_security.json"}
    answer = await client.put(ROUTE, json=ACCOUNT)
    assert (answer.status, await answer.json()) == (200, {**off, "enabled": True, "username": "ann"})
    assert authenticator.file.path.stat().st_mode & 0o777 == 0o600
    assert (await client.get("/runflow/security")).status == 401

    new = {"username": "änn", "password": "another password", "current_password": PASSWORD}
    assert (await client.put(ROUTE, json=new)).status == 401
    answer = await client.put(ROUTE, json=new, headers=ANN)
    assert (answer.status, (await answer.json())["username"]) == (200, "änn")
    assert (await client.get("/", headers=ANN)).status == 401
    anew = login("änn", "another password")
    text = await (await client.get("/runflow/security", headers=anew)).text()
    assert "another password" not in text
    assert "another password" not in authenticator.file.path.read_text()

    assert (await client.delete(ROUTE, json={"current_password": "another password"})).status == 401
    answer = await client.delete(ROUTE, json={"current_password": "another password"}, headers=anew)
    assert (answer.status, await answer.json()) == (200, off)
    assert not authenticator.file.path.exists()
    assert (await client.get("/")).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_the_current_password_is_needed(client: Client, switched_on: Authenticator, method: str) -> None:
    before = switched_on.file.path.read_bytes()
    for current, code in (
        (None, "CURRENT_PASSWORD_MISSING"),
        (5, "CURRENT_PASSWORD_MISSING"),
        ("wrong", "WRONG_PASSWORD"),
    ):
        body = {"username": "eve", "password": "eve's own password", "current_password": current}
        answer = await client.request(method, ROUTE, json=body, headers=ANN)
        assert (answer.status, (await answer.json())["code"]) == (403, code)
    codes = []
    for guess in range(FREE + 1):
        answer = await client.request(method, ROUTE, json={**body, "current_password": f"{guess}"}, headers=ANN)
        codes.append((answer.status, (await answer.json())["code"]))
    assert codes[-1] == (429, "TOO_MANY_GUESSES")
    assert switched_on.file.path.read_bytes() == before
    assert (await client.get("/", headers=ANN)).status == 200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": ""}, "INVALID_USERNAME"),
        ({"username": "  "}, "INVALID_USERNAME"),
        ({"username": None}, "INVALID_USERNAME"),
        ({"username": "a:b"}, "INVALID_USERNAME"),
        ({"username": "a\nb"}, "INVALID_USERNAME"),
        ({"username": "a" * 101}, "INVALID_USERNAME"),
        ({"password": ""}, "INVALID_PASSWORD"),
        ({"password": 123456789012}, "INVALID_PASSWORD"),
        ({"password": "elevenchars"}, "INVALID_PASSWORD"),
        ({"password": "x" * 201}, "INVALID_PASSWORD"),
        ({"password": "with\x00a zero in it"}, "INVALID_PASSWORD"),
        ({"password": "with \ud800 half a character"}, "INVALID_PASSWORD"),
    ],
)
async def test_fields_are_checked(
    client: Client, authenticator: Authenticator, change: dict[str, Any], code: str
) -> None:
    body = json.dumps({**ACCOUNT, **change})
    answer = await client.put(ROUTE, data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["code"]) == (400, code)
    assert not authenticator.file.path.exists()


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_another_site_cannot_switch_it_on(
    client: Client, authenticator: Authenticator, headers: dict[str, str]
) -> None:
    assert (await client.put(ROUTE, json=ACCOUNT, headers=headers)).status == 403
    form = await client.put(ROUTE, data=b"{}", headers={"Content-Type": "text/plain"})
    assert form.status == 415
    assert not authenticator.file.path.exists()


async def test_a_folder_that_cannot_be_written_is_said(client: Client, authenticator: Authenticator) -> None:
    authenticator.file.path = authenticator.file.path.parent / "missing" / "file.json"
    answer = await client.put(ROUTE, json=ACCOUNT)
    assert (answer.status, (await answer.json())["code"]) == (409, "NOT_WRITABLE")
    assert (await client.get("/")).status == 200


@pytest.mark.parametrize("password", ["Zwölf-Zeichen!", "a\u0308bcdefghijklmn", "密码" * 6, "colons:and:more:"])
async def test_any_letters_do(client: Client, authenticator: Authenticator, password: str) -> None:
    assert (await client.put(ROUTE, json={"username": "Ωmega", "password": password})).status == 200
    assert (await client.get("/", headers=login("Ωmega", password))).status == 200


@pytest.fixture
async def services(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    made = Services()
    await made.server.start_server()
    monkeypatch.setenv("RUNFLOW_SCAN_ADDRESS_SERVICES", f"{made.url('/error')},{made.url('/ip')}")
    monkeypatch.setenv("RUNFLOW_SCAN_PORT_SERVICE", made.url("/ports"))
    yield made
    await made.server.close()


@pytest.mark.parametrize("body", [{}, {"ask_outside": False}, {"ask_outside": "yes"}, {"ask_outside": 1}])
async def test_a_scan_asks_nobody_without_consent(client: Client, services: Services, body: dict[str, object]) -> None:
    found = await (await client.post(SCANS, json=body)).json()
    assert found["outside"] is None
    assert not services.asked
    assert found["bindings"] == [{"address": "0.0.0.0", "level": "danger", "meaning": "all network interfaces"}]
    assert (found["port"], found["tls"], found["password"]) == (8188, False, False)
    name = services.url("/").removeprefix("http://").rstrip("/")
    assert found["services"] == {"address": [name, name], "ports": name}


async def test_a_scan_tells_everything(client: Client, services: Services) -> None:
    found = (await (await client.post(SCANS, json={"ask_outside": True})).json())["outside"]
    assert services.asked == [{"host": ADDRESS, "ports": [8188, 80, 8080, 443]}]
    assert found["address"] == ADDRESS
    assert "HTTP 500" in found["address_failures"][0]
    states = {port["port"]: (port["open"], port["level"], port["comfyui"]) for port in found["ports"]}
    closed = (False, "good", False)
    assert states == {8188: (True, "danger", True), 80: closed, 8080: closed, 443: closed}
    assert found["ports_failure"] is None


async def test_an_open_port_behind_a_password_is_a_warning(
    client: Client, services: Services, switched_on: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comfyui, "listening", lambda: (["::"], 443, True))
    services.open = {443, 80}
    services.port_answer = {"check": [{"port": 443, "status": True}, {"port": 80, "status": True}]}
    assert (await client.post(SCANS, json={"ask_outside": True})).status == 401
    auth = login()
    found = await (await client.post(SCANS, json={"ask_outside": True}, headers=auth)).json()
    assert (found["tls"], found["password"]) == (True, True)
    levels = [(port["port"], port["level"]) for port in found["outside"]["ports"]]
    assert levels == [(443, "warning"), (80, "warning"), (8080, "unknown")]


async def test_services_that_are_gone_leave_the_local_findings(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("RUNFLOW_SCAN_ADDRESS_SERVICES", gone)
    monkeypatch.setenv("RUNFLOW_SCAN_PORT_SERVICE", gone)
    found = await (await client.post(SCANS, json={"ask_outside": True})).json()
    assert found["bindings"][0]["level"] == "danger"
    outside = found["outside"]
    assert outside["address"] is None
    assert len(outside["address_failures"]) == 1
    assert outside["ports_failure"]
    assert {port["level"] for port in outside["ports"]} == {"unknown"}


async def test_the_address_is_shown_where_only_the_ports_fail(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNFLOW_SCAN_PORT_SERVICE", services.url("/error"))
    outside = (await (await client.post(SCANS, json={"ask_outside": True})).json())["outside"]
    assert outside["address"] == ADDRESS
    assert "HTTP 500" in outside["ports_failure"]
