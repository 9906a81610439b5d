import time
from pathlib import Path

import pytest

from runflow.embedded_postgres import ConnectionInfo
from runflow.embedded_postgres.readiness import Patience, answers


def test_nobody_answers_in_an_empty_folder(tmp_path: Path) -> None:
    assert not answers(ConnectionInfo(tmp_path / "it's", 5432, "u", "p", "d"))


def test_the_server_answers_without_a_password(info: ConnectionInfo) -> None:
    assert answers(ConnectionInfo(info.socket_dir, info.port, "nobody", "", "nothing"))


def test_a_long_wait_is_reported_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    said: list[str] = []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    patience = Patience(said.append)
    for _ in range(120):
        patience.pause(lambda: "Still recovering")
        now += 0.1
    assert said == [f"Still recovering ({seconds} s so far)" for seconds in (2, 7, 12)] or said == [
        f"Still recovering ({seconds} s so far)" for seconds in (2, 7)
    ]
    assert slept[0] < 0.02
    assert max(slept) <= 0.25
