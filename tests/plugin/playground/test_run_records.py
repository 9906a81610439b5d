import json
from pathlib import Path

import pytest

from plugin.playground import run_records
from plugin.playground.run_records import RunRecords


def record(number: int, *, ended: bool = True) -> dict[str, object]:
    status = "succeeded" if ended else "running"
    return {"id": f"id{number}", "number": number, "status_code": status, "is_terminal": ended}


def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_records, "MAX_RECORDS", 3)
    records = RunRecords(tmp_path)
    for number in (1, 2, 9, 10, 11):
        records.save(record(number))
    assert [each["number"] for each in RunRecords(tmp_path).load()] == [9, 10, 11]


def test_a_run_that_a_crash_cut_off_has_failed(tmp_path: Path) -> None:
    RunRecords(tmp_path).save(record(1, ended=False))
    for _ in range(2):  # what was found out is kept
        (found,) = RunRecords(tmp_path).load()
        assert (found["status_code"], found["is_terminal"], found["failure_code"]) == ("failed", True, "ENGINE_CRASHED")
    assert json.loads(next(tmp_path.rglob("*.json")).read_text())["status_code"] == "failed"


def test_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    RunRecords(tmp_path).save(record(1))
    (tmp_path / "runs/00000002-x.json").write_text("[]")
    assert [each["id"] for each in RunRecords(tmp_path).load()] == ["id1"]


def test_nothing_is_saved_for_a_workflow_that_was_dropped(tmp_path: Path) -> None:
    RunRecords(tmp_path / "gone").save(record(1))
    assert list(tmp_path.iterdir()) == []
