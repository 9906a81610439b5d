from pathlib import Path

import pytest
from starlette.requests import Request

from runflow.settings import Settings
from runflow.storage.keys import base_url


def request(scheme: str, host: str) -> Request:
    return Request(
        {
            "type": "http",
            "scheme": scheme,
            "server": ("10.0.0.1", 8700),
            "path": "/v1/assets/x",
            "query_string": b"a=b",
            "headers": [(b"host", host.encode())],
        }
    )


def test_the_public_address_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNFLOW_PUBLIC_URL", raising=False)
    settings = Settings(home=tmp_path, public_url="https://runflow.example.com/")
    assert base_url(request("http", "box:8700"), settings) == "https://runflow.example.com"


def test_else_the_address_that_the_request_was_sent_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNFLOW_PUBLIC_URL", raising=False)
    settings = Settings(home=tmp_path)
    assert base_url(request("https", "box.example:8700"), settings) == "https://box.example:8700"
