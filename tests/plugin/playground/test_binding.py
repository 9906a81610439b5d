from pathlib import Path
from typing import Any

import pytest

from plugin.answers import Refused
from plugin.playground.binding import bind_values
from plugin.playground.captures import Capture, Captures


@pytest.fixture
def capture(tmp_path: Path, prompt: dict[str, Any], graph: dict[str, Any]) -> Capture:
    return Captures(tmp_path / "captures").save("flow", prompt, graph, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ComfyUI's input folder."""
    (tmp_path / "input/sub").mkdir(parents=True)
    for name in ("otter.png", "sub/otter.png", "notes.txt"):
        (tmp_path / "input" / name).write_bytes(b"x")
    (tmp_path / "outside.png").write_bytes(b"x")
    return tmp_path / "input"


def test_values_are_bound_as_the_worker_binds_them(capture: Capture, folder: Path) -> None:
    before = str(capture.prompt)
    bound = bind_values(capture, {"photo": "sub/otter.png", "width": "48"}, "run1", folder)
    loader, slot = bound["2"]["inputs"]["value"]
    assert (bound[loader]["class_type"], slot) == ("LoadImage", 0)
    assert bound[loader]["inputs"]["image"] == "sub/otter.png"
    assert bound["3"]["inputs"]["value"] == 48
    assert bound["4"]["inputs"]["value"] == "notes.txt"
    assert bound["6"]["inputs"]["output_subfolder"] == "runflow-playground/flow/run1"
    assert str(capture.prompt) == before


def problems(capture: Capture, values: object, folder: Path) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        bind_values(capture, values, "run1", folder)
    assert (refused.value.status, refused.value.code) == (422, "VALIDATION_ERROR")
    assert all(each["loc"][:2] == ["body", "input"] for each in refused.value.errors)
    return {each["loc"][2]: each["type"] for each in refused.value.errors}


def test_every_field_that_is_wrong_is_named_once(capture: Capture, folder: Path) -> None:
    assert problems(capture, {}, folder) == {"photo": "missing", "width": "missing"}
    assert problems(capture, None, folder) == {"photo": "missing", "width": "missing"}
    assert problems(capture, {"photo": "", "width": 1.5, "size": 1}, folder) == {
        "photo": "missing",
        "width": "type_error",
        "size": "unknown_input",
    }
    assert problems(capture, [], folder) == {"": "type_error"}


@pytest.mark.parametrize(
    "name",
    ["../outside.png", "/etc/passwd", "gone.png", "sub", "https://example.com/a.png", 7, "C:\\x.png", "a\x00b"],
)
def test_only_files_of_the_input_folder_are_taken(capture: Capture, folder: Path, name: object) -> None:
    assert problems(capture, {"photo": name, "width": 8}, folder) == {"photo": "invalid_reference"}


def test_a_default_file_that_is_gone_is_named(capture: Capture, folder: Path) -> None:
    (folder / "notes.txt").unlink()
    assert problems(capture, {"photo": "otter.png", "width": 8}, folder) == {"notes": "invalid_reference"}
