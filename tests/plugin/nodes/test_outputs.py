from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plugin.nodes.outputs import RunflowOutputFile, RunflowOutputImage


def batch(count: int = 1, *, channels: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full((count, 4, 6, channels), 0.5, dtype=np.float32)


def save(**inputs: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = RunflowOutputImage().save(**{"output_id": "image", "unique_id": "9", **inputs})["ui"][
        "images"
    ]
    return found


def mark(value: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = RunflowOutputFile().mark(output_id="mesh", value=value, unique_id="9")["ui"]["files"]
    return found


def test_both_are_output_nodes_with_their_widgets() -> None:
    for node, kind in ((RunflowOutputImage, "image"), (RunflowOutputFile, "file")):
        types = node.INPUT_TYPES()
        assert node.OUTPUT_NODE
        assert node.CATEGORY == "Runflow/Output"
        assert types["required"]["output_id"][1]["default"] == f"{kind}_output"
        assert list(types["optional"]) == ["output_name"]
    assert "output_subfolder" in RunflowOutputImage.INPUT_TYPES()["hidden"]


def test_each_image_becomes_a_numbered_png_and_numbers_go_on(output: Path) -> None:
    assert [entry["filename"] for entry in save(value=batch(2))] == ["image_00001.png", "image_00002.png"]
    (output / "image_00007.png").touch()
    (output / "image_x.png").touch()
    (output / "image_00009.png.txt").touch()
    (entry,) = save(value=batch())
    assert entry == {"filename": "image_00008.png", "subfolder": "", "type": "output"}
    with Image.open(output / "image_00008.png") as saved:
        assert (saved.format, saved.size, saved.mode, saved.info) == ("PNG", (6, 4), "RGB", {})


def test_a_number_taken_by_another_process_is_skipped(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (output / "image_00001.png").write_bytes(b"theirs")
    monkeypatch.setattr("plugin.nodes.outputs.next_number", lambda *_: 1)
    assert save(value=batch())[0]["filename"] == "image_00002.png"
    assert (output / "image_00001.png").read_bytes() == b"theirs"


@pytest.mark.parametrize(
    ("output_id", "name"), [("Final Image!", "Final_Image"), ("../../x", "x"), ("日本", "output"), ("a/b", "a_b")]
)
def test_file_names_are_made_of_safe_characters(output: Path, output_id: str, name: str) -> None:
    assert save(output_id=output_id, value=batch())[0]["filename"] == f"{name}_00001.png"


def test_the_subfolder_is_made_and_reported(output: Path) -> None:
    (entry,) = save(value=batch(), output_subfolder="runs/abc")
    assert entry["subfolder"] == "runs/abc"
    assert (output / "runs" / "abc" / entry["filename"]).is_file()


@pytest.mark.parametrize("folder", ["..", "../x", "/tmp", "a/../../x", "link"])
def test_a_subfolder_outside_is_refused(output: Path, folder: str) -> None:
    (output / "link").symlink_to(output.parent)
    with pytest.raises(ValueError, match=r'Runflow Output \(Image\) "image" \(node 9\)'):
        save(value=batch(), output_subfolder=folder)
    assert list(output.iterdir()) == [output / "link"]


@pytest.mark.parametrize(
    ("value", "reason"), [(batch(0), "empty"), (batch(channels=2), "channels"), (np.zeros(3), "shape"), ("x", "shape")]
)
def test_what_is_no_image_batch_is_refused(output: Path, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        save(value=value)
    assert list(output.iterdir()) == []


def test_a_file_below_the_output_folder_is_reported(output: Path) -> None:
    (output / "video").mkdir()
    (output / "video" / "a b.mp4").touch()
    (output / "top.glb").touch()
    expected = [{"filename": "a b.mp4", "subfolder": "video", "type": "output"}]
    assert mark("video/a b.mp4") == mark(" video/./a b.mp4\n") == mark(str(output / "video" / "a b.mp4")) == expected
    assert mark("top.glb") == [{"filename": "top.glb", "subfolder": "", "type": "output"}]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty path"),
        ("  ", "empty path"),
        ("gone.mp4", "is not in ComfyUI's output folder"),
        ("../secret", "no path below"),
        ("/etc/passwd", "is not below"),
        ("folder", "is a folder"),
        ("link/secret", "leads out of that folder through a link"),
    ],
)
def test_other_paths_are_refused_with_the_node(output: Path, value: str, reason: str) -> None:
    (output.parent / "secret").touch()
    (output / "folder").mkdir()
    (output / "link").symlink_to(output.parent)
    with pytest.raises(ValueError, match=reason) as raised:
        mark(value)
    assert str(raised.value).startswith('Runflow Output (File) "mesh" (node 9): ')


def test_a_value_that_is_no_text_is_refused(output: Path) -> None:
    with pytest.raises(TypeError, match="expected the path of a file as text, got int"):
        mark(5)


def test_both_pass_their_value_on(output: Path) -> None:
    pictures = batch(2)
    assert RunflowOutputImage().save(output_id="image", value=pictures)["result"][0] is pictures
    (output / "top.glb").touch()
    assert RunflowOutputFile().mark(output_id="mesh", value="top.glb")["result"] == ("top.glb",)
    assert (RunflowOutputImage.RETURN_TYPES, RunflowOutputFile.RETURN_TYPES) == (("IMAGE",), ("STRING",))


def test_a_file_output_is_never_cached() -> None:
    assert RunflowOutputFile.IS_CHANGED(value="a") != RunflowOutputFile.IS_CHANGED(value="a")
