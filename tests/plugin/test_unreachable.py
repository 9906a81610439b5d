"""Why a server could not be reached, from the errors that requests really end with."""

import socket
import ssl

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.unreachable import why_unreachable
from tests.support.platform_fixtures import free_port


async def reason(url: str) -> str:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as raised:
            await session.get(url)
    return why_unreachable(raised.value)


async def test_nobody_listens() -> None:
    assert await reason(f"http://127.0.0.1:{free_port()}/") == "nothing listens there"


async def test_https_to_a_server_without_tls() -> None:
    async with TestServer(web.Application()) as server:
        assert "did you mean http:// instead of https://?" in await reason(f"https://127.0.0.1:{server.port}/")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name leads to no address (DNS)"),
        (ssl.SSLCertVerificationError(1, "self-signed"), "its certificate is not trusted"),
        (ssl.SSLError(1, "handshake failure"), "TLS failed"),
        (OSError(113, "Connect call failed"), "No route to host"),
        (TimeoutError(), "TimeoutError"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
    ],
)
def test_every_cause_has_words(error: Exception, words: str) -> None:
    assert why_unreachable(error).startswith(words)
