"""Whom the server believes who is calling."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from runflow.installation import Installation
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.supervisor import Listen, Supervisor
from runflow.web.connections import Connections


async def caller_of(supervisor: Supervisor, peer: str, headers: dict[str, str]) -> tuple[str, str]:
    """Return the address and the scheme that the application sees of a request."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    config = supervisor._server(app, Connections(16), tls=False).config
    config.load()
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": sent}
    await config.loaded_app(scope, None, None)
    return seen["client"][0], seen["scheme"]


FORWARDED = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("proxies", "peer", "seen"),
    [
        ("", "127.0.0.1", ("127.0.0.1", "http")),
        ("", "192.0.2.1", ("192.0.2.1", "http")),
        ("127.0.0.1", "127.0.0.1", ("203.0.113.7", "https")),
        ("127.0.0.1", "192.0.2.1", ("192.0.2.1", "http")),
        ("10.0.0.0/8, 127.0.0.1", "10.1.2.3", ("203.0.113.7", "https")),
    ],
)
async def test_only_a_proxy_that_the_operator_names_says_who_is_calling(
    tmp_path: Path,
    master_key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
    proxies: str,
    peer: str,
    seen: tuple[str, str],
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    settings = Settings(home=tmp_path, trusted_proxies=proxies)
    installation = Installation(settings, master_key, make_url("postgresql://x"), None)
    supervisor = Supervisor(installation, Listen("127.0.0.1", 0), worker=False, ready=lambda _: None)
    assert await caller_of(supervisor, peer, FORWARDED) == seen


@pytest.mark.parametrize("proxies", ["*", "nginx", "10.0.0.1/8"])
def test_a_proxy_is_named_by_its_address(proxies: str) -> None:
    with pytest.raises(ValueError, match="addresses or networks"):
        Settings(trusted_proxies=proxies)
