import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runflow.embedded_postgres import HomeUnusable, server_log
from runflow.embedded_postgres.server_log import ServerLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ServerLog]:
    log = ServerLog(tmp_path)
    yield log
    log.close()


def test_only_lines_of_this_start_are_shown(log: ServerLog) -> None:
    os.write(log.open(), b"old\n")
    descriptor = log.open()
    assert log.tail() == []
    os.write(descriptor, b"one\n\n two \n")
    assert log.tail() == ["one", "two"]
    assert log.tail(1) == ["two"]


def test_file_and_folder_are_closed_to_others(log: ServerLog) -> None:
    log.open()
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_size_is_bounded_while_a_server_writes(log: ServerLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "MAX_BYTES", 1000)
    descriptor = log.open()
    for round_ in range(3):
        os.write(descriptor, f"{round_}\n".encode() * 600)
        log.bound()
    assert log.path.stat().st_size == 0
    older = log.path.with_name("postgres.log.1")
    assert older.read_text() == "2\n" * 600
    os.write(descriptor, b"after\n")
    assert log.tail() == ["after"]
    assert len(list(log.path.parent.iterdir())) == 2


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(HomeUnusable, match=r"logs/postgres\.log cannot be opened"):
        ServerLog(tmp_path).open()
