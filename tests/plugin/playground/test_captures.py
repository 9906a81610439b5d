import json
import os
from pathlib import Path
from typing import Any

import pytest

from plugin.answers import Refused
from plugin.playground import captures
from plugin.playground.captures import Captures


def test_a_capture_is_scrubbed_and_survives_a_new_process(
    tmp_path: Path, prompt: dict[str, Any], graph: dict[str, Any]
) -> None:
    before = json.dumps([prompt, graph])
    saved = Captures(tmp_path).save(" My Flow v2.1 ", prompt, graph, "abc")
    assert json.dumps([prompt, graph]) == before
    loaded = Captures(tmp_path).load("my-flow-v21")
    assert loaded == saved
    assert "value" not in loaded.prompt["2"]["inputs"]
    told = loaded.describe(stale=False)
    assert [(row["name"], row["is_required"]) for row in told["inputs"]] == [
        ("photo", True),
        ("width", True),
        ("notes", False),
    ]
    assert told["inputs"][2]["default_value"] == "notes.txt"
    assert [row["name"] for row in told["outputs"]] == ["scaled"]
    content = next(tmp_path.rglob("capture.json"))
    assert b"SECRET" not in content.read_bytes()
    if os.name != "nt":
        assert content.stat().st_mode & 0o777 == 0o600


def test_a_long_seed_reaches_the_page_exactly(tmp_path: Path, graph: dict[str, Any]) -> None:
    seed: dict[str, Any] = {"input_id": "seed", "required": False, "default_value": str(2**64 - 1)}
    prompt = {"1": {"class_type": "RunflowInputInt", "inputs": seed}}
    (row,) = Captures(tmp_path).save("flow", prompt, graph, "").describe(stale=False)["inputs"]
    assert row["default_value"] == row["effective_default"] == "18446744073709551615"
    seed["default_value"] = str(2**53 - 1)
    (row,) = Captures(tmp_path).save("flow", prompt, graph, "").describe(stale=False)["inputs"]
    assert row["default_value"] == 2**53 - 1


def test_a_capture_is_stale_when_an_editor_shows_something_else(
    tmp_path: Path, prompt: dict[str, Any], graph: dict[str, Any]
) -> None:
    kept = Captures(tmp_path)
    first = kept.save("flow", prompt, graph, "one")
    assert not kept.is_stale(first)
    kept.shown("flow", "two")
    assert kept.is_stale(first)
    assert not kept.is_stale(kept.save("flow", prompt, graph, "two"))
    assert not Captures(tmp_path).is_stale(first)  # nobody has spoken yet


def test_only_so_many_are_kept(
    tmp_path: Path, prompt: dict[str, Any], graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "MAX_CAPTURES", 3)
    kept = Captures(tmp_path)
    for number in range(5):
        kept.save(f"flow {number}", prompt, graph, "")
        os.utime(kept.folder(f"flow-{number}") / "capture.json", ns=(number, number))
    kept.save("flow 9", prompt, graph, "")
    assert [kept.has(f"flow-{number}") for number in (0, 1, 2, 3, 4, 9)] == [False, False, False, True, True, True]


def test_what_cannot_be_captured_says_why(
    tmp_path: Path, prompt: dict[str, Any], graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Captures(tmp_path)
    with pytest.raises(Refused, match="endpoint_name must be URL-safe"):
        kept.save("…", prompt, graph, "")
    with pytest.raises(Refused, match="sent no workflow"):
        kept.save("flow", None, graph, "")
    with pytest.raises(Refused, match="The workflow is empty"):
        kept.save("flow", {}, graph, "")
    prompt["7"] = {"class_type": "RunflowInputString", "inputs": {"input_id": "width"}}
    with pytest.raises(Refused, match='"width" is used with two types'):
        kept.save("flow", prompt, graph, "")
    del prompt["7"]
    monkeypatch.setattr(captures, "MAX_CAPTURE_BYTES", 100)
    with pytest.raises(Refused, match="larger than") as refused:
        kept.save("flow", prompt, graph, "")
    assert refused.value.status == 413
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slug", ["../secrets", "", "a/b", "..", "con/../x", "A"])
def test_a_slug_cannot_leave_the_folder(tmp_path: Path, slug: str) -> None:
    (tmp_path / "capture.json").write_text("{}")
    with pytest.raises(Refused, match="There is no captured workflow"):
        Captures(tmp_path / "playground").load(slug)


def test_a_damaged_file_says_what_to_do(tmp_path: Path, prompt: dict[str, Any], graph: dict[str, Any]) -> None:
    kept = Captures(tmp_path)
    kept.save("flow", prompt, graph, "")
    (kept.folder("flow") / "capture.json").write_text('{"name": "flow"')
    with pytest.raises(Refused, match="press Local Playground"):
        kept.load("flow")
