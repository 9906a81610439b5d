"""Asking public services: fallbacks, limits, and answers that are checked. The services are servers of this machine."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from plugin.security import port_check
from plugin.security.port_check import ADDRESS_SERVICES, PORT_SERVICE, address_services, host, port_service
from tests.support.platform_fixtures import free_port
from tests.support.services_double import ADDRESS, Services


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    made = Services()
    await made.server.start_server()
    yield made
    await made.server.close()


async def test_the_first_that_answers_with_a_public_address_is_believed(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_check, "_ADDRESS_SECONDS", 60)
    bad = ("/error", "/html", "/private", "/six", "/huge", "/zipped", "/moved")
    nobody = f"http://127.0.0.1:{free_port()}"
    urls = [nobody, "nonsense", *(services.url(path) for path in bad), services.url("/ip"), services.url("/error")]
    found = await port_check.public_address(urls)
    assert (found.address, found.service) == (ADDRESS, host(services.url("/")))
    assert len(found.failures) == len(bad) + 2
    said = "\n".join(found.failures)
    for part in ("HTTP 500", "no IPv4 address", "10.1.2.3", "far too much", "HTTP 302", "cannot be reached"):
        assert part in said


async def test_one_that_keeps_us_waiting_is_a_failure(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_check, "_ADDRESS_SECONDS", 0.3)
    found = await port_check.public_address([services.url("/late")])
    assert found.address is None
    assert [failure.partition(": ")[2] for failure in found.failures] == ["no answer in time"]


async def test_without_any_answer_every_failure_is_named() -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    found = await port_check.public_address(urls)
    assert found.address is None
    assert [failure.partition(": ")[0] for failure in found.failures] == [host(url) for url in urls]


async def test_ports(services: Services) -> None:
    found = await port_check.open_ports(services.url("/ports"), ADDRESS, [8188, 80, 443])
    assert found == {8188: True, 80: False, 443: False}
    assert services.asked == [{"host": ADDRESS, "ports": [8188, 80, 443]}]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        "text",
        {"check": None},
        {"check": []},
        {"error": True, "check": [{"port": 80, "status": True}]},
        {"check": [{"port": "80", "status": True}, {"port": 80, "status": "open"}, 5, {"port": 81, "status": True}]},
    ],
)
async def test_answers_about_something_else_are_none(services: Services, answer: Any) -> None:
    services.port_answer = answer
    with pytest.raises(port_check.Unavailable, match="its answer is not"):
        await port_check.open_ports(services.url("/ports"), ADDRESS, [80])


async def test_a_port_that_is_not_mentioned_is_not_made_up(services: Services) -> None:
    services.port_answer = {"check": [{"port": 80, "status": True}, {"port": 99, "status": True}]}
    assert await port_check.open_ports(services.url("/ports"), ADDRESS, [80, 443]) == {80: True}


async def test_a_service_that_fails_says_how(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, why, seconds in (("/error", "HTTP 500", 60), ("/late", "in time", 0.3), ("/nothing", "HTTP 404", 60)):
        monkeypatch.setattr(port_check, "_PORTS_SECONDS", seconds)
        with pytest.raises(port_check.Unavailable, match=why):
            await port_check.open_ports(services.url(path), ADDRESS, [80])


def test_the_services_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["api.ipify.org", "ifconfig.me", "icanhazip.com", "checkip.amazonaws.com"]
    assert [host(url) for url in address_services()] == hosts
    assert host(port_service()) == "portchecker.io"
    assert all(url.startswith("https://") for url in (*ADDRESS_SERVICES, PORT_SERVICE))
    monkeypatch.setenv("RUNFLOW_SCAN_ADDRESS_SERVICES", "http://a.example/ip, http://user:pw@b.example:81")
    monkeypatch.setenv("RUNFLOW_SCAN_PORT_SERVICE", "http://c.example/ports")
    assert [host(url) for url in address_services()] == ["a.example", "b.example:81"]
    assert port_service() == "http://c.example/ports"
