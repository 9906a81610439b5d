"""The scan's route: asks nobody before the person agrees, and never loses the local findings."""

from collections.abc import AsyncIterator

import pytest

from plugin import comfyui
from plugin.security.gate import Gate
from tests.plugin.security.conftest import Client, login
from tests.support.platform_fixtures import free_port
from tests.support.services_double import ADDRESS, Services

ROUTE = "/runflow/security/scans"


@pytest.fixture
async def services(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    made = Services()
    await made.server.start_server()
    monkeypatch.setenv("RUNFLOW_SCAN_ADDRESS_SERVICES", f"{made.url('/error')},{made.url('/ip')}")
    monkeypatch.setenv("RUNFLOW_SCAN_PORT_SERVICE", made.url("/ports"))
    yield made
    await made.server.close()


@pytest.mark.parametrize("body", [{}, {"ask_outside": False}, {"ask_outside": "yes"}, {"ask_outside": 1}])
async def test_nobody_is_asked_without_consent(client: Client, services: Services, body: dict[str, object]) -> None:
    found = await (await client.post(ROUTE, json=body)).json()
    assert found["outside"] is None
    assert not services.asked
    assert found["bindings"] == [{"address": "0.0.0.0", "level": "danger", "meaning": "all network interfaces"}]
    assert (found["port"], found["tls"], found["password"]) == (8188, False, False)
    name = services.url("/").removeprefix("http://").rstrip("/")
    assert found["services"] == {"address": [name, name], "ports": name}


async def test_everything_is_told(client: Client, services: Services) -> None:
    found = (await (await client.post(ROUTE, json={"ask_outside": True})).json())["outside"]
    assert services.asked == [{"host": ADDRESS, "ports": [8188, 80, 8080, 443]}]
    assert found["address"] == ADDRESS
    assert "HTTP 500" in found["address_failures"][0]
    states = {port["port"]: (port["open"], port["level"], port["comfyui"]) for port in found["ports"]}
    closed = (False, "good", False)
    assert states == {8188: (True, "danger", True), 80: closed, 8080: closed, 443: closed}
    assert found["ports_failure"] is None


async def test_an_open_port_behind_a_password_is_a_warning(
    client: Client, services: Services, switched_on: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comfyui, "listening", lambda: (["::"], 443, True))
    services.open = {443, 80}
    services.port_answer = {"check": [{"port": 443, "status": True}, {"port": 80, "status": True}]}
    assert (await client.post(ROUTE, json={"ask_outside": True})).status == 401
    auth = login()
    found = await (await client.post(ROUTE, json={"ask_outside": True}, headers=auth)).json()
    assert (found["tls"], found["password"]) == (True, True)
    levels = [(port["port"], port["level"]) for port in found["outside"]["ports"]]
    assert levels == [(443, "warning"), (80, "warning"), (8080, "unknown")]


async def test_services_that_are_gone_leave_the_local_findings(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("RUNFLOW_SCAN_ADDRESS_SERVICES", gone)
    monkeypatch.setenv("RUNFLOW_SCAN_PORT_SERVICE", gone)
    found = await (await client.post(ROUTE, json={"ask_outside": True})).json()
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
    outside = (await (await client.post(ROUTE, json={"ask_outside": True})).json())["outside"]
    assert outside["address"] == ADDRESS
    assert "HTTP 500" in outside["ports_failure"]
