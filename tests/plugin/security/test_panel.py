"""Switching the password on, changing it, switching it off."""

import json
from typing import Any

import pytest

from plugin.security.gate import Gate
from plugin.security.guesses import FREE
from tests.plugin.security.conftest import PASSWORD, Client, login

ROUTE = "/runflow/security/password"
ANN = login()
ACCOUNT = {"username": "ann", "password": PASSWORD}


async def test_from_off_to_on_to_changed_to_off(client: Client, gate: Gate) -> None:
    off = await (await client.get("/runflow/security")).json()
    assert off == {"enabled": False, "username": "", "least_characters": 12, "file": "runflow_security.json"}
    answer = await client.put(ROUTE, json=ACCOUNT)
    assert (answer.status, await answer.json()) == (200, {**off, "enabled": True, "username": "ann"})
    assert gate.file.path.stat().st_mode & 0o777 == 0o600
    assert (await client.get("/runflow/security")).status == 401

    new = {"username": "änn", "password": "another password", "current_password": PASSWORD}
    assert (await client.put(ROUTE, json=new)).status == 401
    answer = await client.put(ROUTE, json=new, headers=ANN)
    assert (answer.status, (await answer.json())["username"]) == (200, "änn")
    assert (await client.get("/", headers=ANN)).status == 401
    anew = login("änn", "another password")
    text = await (await client.get("/runflow/security", headers=anew)).text()
    assert "another password" not in text
    assert "another password" not in gate.file.path.read_text()

    assert (await client.delete(ROUTE, json={"current_password": "another password"})).status == 401
    answer = await client.delete(ROUTE, json={"current_password": "another password"}, headers=anew)
    assert (answer.status, await answer.json()) == (200, off)
    assert not gate.file.path.exists()
    assert (await client.get("/")).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_the_current_password_is_needed(client: Client, switched_on: Gate, method: str) -> None:
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
async def test_fields_are_checked(client: Client, gate: Gate, change: dict[str, Any], code: str) -> None:
    body = json.dumps({**ACCOUNT, **change})
    answer = await client.put(ROUTE, data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["code"]) == (400, code)
    assert not gate.file.path.exists()


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_another_site_cannot_switch_it_on(client: Client, gate: Gate, headers: dict[str, str]) -> None:
    assert (await client.put(ROUTE, json=ACCOUNT, headers=headers)).status == 403
    form = await client.put(ROUTE, data=b"{}", headers={"Content-Type": "text/plain"})
    assert form.status == 415
    assert not gate.file.path.exists()


async def test_a_folder_that_cannot_be_written_is_said(client: Client, gate: Gate) -> None:
    gate.file.path = gate.file.path.parent / "missing" / "file.json"
    answer = await client.put(ROUTE, json=ACCOUNT)
    assert (answer.status, (await answer.json())["code"]) == (409, "NOT_WRITABLE")
    assert (await client.get("/")).status == 200


@pytest.mark.parametrize("password", ["Zwölf-Zeichen!", "a\u0308bcdefghijklmn", "密码" * 6, "colons:and:more:"])
async def test_any_letters_do(client: Client, gate: Gate, password: str) -> None:
    assert (await client.put(ROUTE, json={"username": "Ωmega", "password": password})).status == 200
    assert (await client.get("/", headers=login("Ωmega", password))).status == 200
