import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore
import pytest

from runflow.outgoing.addresses import AddressPolicy, parse_networks
from runflow.outgoing.errors import BlockedAddress, OutgoingConnectionError
from runflow.outgoing.resolver import system_resolver
from runflow.outgoing.transport import GuardedBackend


class Recorder(httpcore.AsyncNetworkBackend):
    """Notes where connections would go."""

    def __init__(self, fail: Sequence[str] = ()) -> None:
        self.hosts: list[str] = []
        self._fail = fail

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.hosts.append(host)
        if host in self._fail:
            raise httpcore.ConnectTimeout
        return httpcore.AsyncMockStream([])


class Names:
    """A name server whose answers change from one question to the next."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def __call__(self, host: str, port: int) -> list[str]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return answer


async def test_rebinding_meets_no_second_look_up() -> None:
    names, inner = Names(["93.184.216.34"], ["127.0.0.1"]), Recorder()
    backend = GuardedBackend(AddressPolicy(), names, inner)
    await backend.connect_tcp("rebind.example", 80)
    assert (inner.hosts, names.asked) == (["93.184.216.34"], 1)
    with pytest.raises(BlockedAddress, match=r"rebind\.example"):
        await backend.connect_tcp("rebind.example", 80)
    assert inner.hosts == ["93.184.216.34"]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::ffff:127.0.0.1"]])
async def test_refused_addresses_are_never_connected_to(addresses: list[str]) -> None:
    inner = Recorder()
    with pytest.raises(BlockedAddress) as caught:
        await GuardedBackend(AddressPolicy(), Names(addresses), inner).connect_tcp("inside.example", 80)
    assert inner.hosts == []
    assert "169.254" not in str(caught.value), "the address itself is nobody's business"


async def test_the_next_address_is_tried() -> None:
    inner = Recorder(fail=["2606:4700::1"])
    await GuardedBackend(AddressPolicy(), Names(["2606:4700::1", "1.1.1.1"]), inner).connect_tcp("two.example", 443)
    assert inner.hosts == ["2606:4700::1", "1.1.1.1"]


async def test_only_permitted_addresses_of_an_allowed_network_are_tried() -> None:
    inner = Recorder()
    policy = AddressPolicy(parse_networks("127.0.0.0/8"))
    await GuardedBackend(policy, Names(["::1", "127.0.0.1"]), inner).connect_tcp("localhost", 80)
    assert inner.hosts == ["127.0.0.1"]


async def test_a_name_that_does_not_resolve() -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(OutgoingConnectionError, match=r"nowhere\.example does not resolve"):
        await GuardedBackend(AddressPolicy(), nothing, Recorder()).connect_tcp("nowhere.example", 80)


@pytest.mark.parametrize("spelling", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001"])
async def test_the_system_resolver_knows_every_spelling_of_an_address(spelling: str) -> None:
    assert await system_resolver(spelling, 80) == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".example", "[::1]"])
async def test_the_system_resolver_raises_oserror_for_impossible_names(name: str) -> None:
    with pytest.raises(OSError):
        await system_resolver(name, 80)


async def test_slow_name_servers_do_not_hold_up_other_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    real, release = socket.getaddrinfo, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str, *arguments: Any, **options: Any) -> Any:
        if host.endswith(".slow"):
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(120)
        return real(host if not host.endswith(".slow") else "127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    waiting = [asyncio.ensure_future(system_resolver(f"{number}.slow", 80)) for number in range(40)]
    async with asyncio.timeout(60):  # they do not answer before it is over
        assert await system_resolver("127.0.0.1", 80) == ["127.0.0.1"]
    release.set()
    assert await asyncio.gather(*waiting) == [["127.0.0.1"]] * 40
