import asyncio
import socket

import pytest

from plugin.autosetup import fetch
from plugin.autosetup.fetch import Fetcher, FetchFailed
from plugin.autosetup.repository import pinned_addresses
from plugin.autosetup.sources import VARIABLE, SourceRefused, Sources
from tests.support.autosetup_hosts import Host, Served


async def read(fetcher: Fetcher, url: str, *, one_host: bool = False) -> bytes:
    async with fetcher.get(url, one_host=one_host) as answer:
        return await answer.read()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
async def test_names_that_lead_to_this_machine_are_refused_when_connecting(host: str, strict: Fetcher) -> None:
    with pytest.raises(SourceRefused, match="this machine or to a private network"):
        await read(strict, f"https://{host}:9/a")


async def test_a_name_that_answers_differently_the_second_time_gains_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was judged is the one that is connected to: nobody asks a second time."""
    port = int(host.url.rpartition(":")[2])
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    asked = []

    async def resolve(_loop: object, name: str, port: int, **_options: object) -> list[object]:
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[len(asked) - 1]]

    connected = []

    async def connect(_loop: object, opened: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address)
        raise OSError("no way")

    loop = type(asyncio.get_running_loop())
    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    monkeypatch.setattr(loop, "sock_connect", connect)
    async with Fetcher(Sources({})) as fetcher:
        with pytest.raises(FetchFailed):
            await read(fetcher, f"https://rebinding.example:{port}/a")
        assert connected == [("93.184.216.34", port)]
        with pytest.raises(SourceRefused):
            await read(fetcher, f"https://rebinding.example:{port}/a")
        assert len(connected) == 1


async def test_one_private_address_among_public_ones_refuses_the_host(
    strict: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_loop: object, _name: str, port: int, **_options: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", (each, port)) for each in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", resolve)
    with pytest.raises(fetch.AddressRefused):
        await fetch.addresses("mixed.example", 443, trusted=False)
    with pytest.raises(SourceRefused):
        await pinned_addresses(strict.sources.check("https://mixed.example/a"))


async def test_redirects_are_judged_one_by_one(host: Host, fetcher: Fetcher) -> None:
    host.files["/file"] = Served(b"content")
    host.redirects |= {
        "/good": "/file",
        # as Hugging Face, GitHub and Civitai lead to their storage
        "/stored": f"/file?X-Amz-Signature=0f&X-Amz-Credential=k&Policy={'e' * 3000}&Key-Pair-Id=K&Signature=~0",
        "/metadata": "https://169.254.169.254/latest",
        "/file-url": "file:///etc/passwd",
        "/plain": "http://example.com/",
        "/password": "https://user:secret@example.com/",
        "/round": "/round",
        "/nowhere": "",
    }
    for path in ("/good", "/stored"):
        assert await read(fetcher, host.url + path) == b"content"
    for path in ("/metadata", "/file-url", "/plain", "/password"):
        with pytest.raises(SourceRefused):
            await read(fetcher, host.url + path)
    for path in ("/round", "/nowhere"):
        with pytest.raises(FetchFailed, match="too often"):
            await read(fetcher, host.url + path)


async def test_a_web_server_cannot_point_at_a_file_that_the_environment_allows(host: Host, tmp_path: object) -> None:
    allowed = f"{host.url}/, file://{tmp_path}"
    host.redirects["/a"] = f"file://{tmp_path}/secret"
    async with Fetcher(Sources({VARIABLE: allowed})) as fetcher:
        with pytest.raises(SourceRefused, match="redirects to a file"):
            await read(fetcher, f"{host.url}/a")


async def test_repositories_stay_on_their_host(host: Host, fetcher: Fetcher) -> None:
    host.redirects["/a"] = host.url.replace("127.0.0.1", "localhost") + "/b"
    with pytest.raises(SourceRefused):
        await read(fetcher, f"{host.url}/a", one_host=True)


async def test_json_of_a_stranger(host: Host, fetcher: Fetcher) -> None:
    host.files |= {"/text": Served(b"hello"), "/deep": Served(b"[" * 500_000), "/long": Served(b" " * (2 << 20))}
    for path in host.files:
        with pytest.raises(FetchFailed):
            await fetcher.json(host.url + path)
    with pytest.raises(FetchFailed, match="answers 404"):
        await fetcher.json(f"{host.url}/missing")
