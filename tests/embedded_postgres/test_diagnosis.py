from pathlib import Path

import pytest

from runflow.embedded_postgres import diagnosis
from runflow.embedded_postgres.diagnosis import explain


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ('FATAL: could not write "postmaster.pid": No space left on device', "Free space on the disk of /d"),
        ('FATAL: data directory "/d" has invalid permissions', "chmod 0700 /d"),
        ("PANIC: could not locate a valid checkpoint record at 0/1", "put /d back from a backup"),
        ("FATAL: could not map anonymous shared memory: Cannot allocate memory", "Free memory"),
    ],
)
def test_a_known_cause_has_its_next_step(line: str, step: str) -> None:
    message = explain([line], Path("/d"), "The whole log: /l.")
    assert line in message
    assert step in message
    assert message.endswith("The whole log: /l.")


def test_an_unknown_cause_still_has_one() -> None:
    message = explain(["surprise"], Path("/d"), "The whole log: /l.")
    assert "surprise" in message
    assert "RUNFLOW_DATABASE_URL" in message


def test_a_full_disk_is_noticed_when_nothing_could_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_is_full", lambda data: True)
    assert "Free space" in explain([], Path("/d"), "The whole log: /l.")
