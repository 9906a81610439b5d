from pathlib import Path
from typing import Any

import pytest

from plugin.manifest.resources import find_resources
from tests.support.catalogue import FakeCatalogue, write


def found(folder: Path, catalogue: FakeCatalogue, *values: Any) -> list[str]:
    prompt = {str(number): {"class_type": "Load", "inputs": {"image": value}} for number, value in enumerate(values)}
    return [file.path for file in find_resources(prompt, prompt, folder, catalogue)[0]]


@pytest.fixture
def catalogue(tmp_path: Path) -> FakeCatalogue:
    return FakeCatalogue(
        tmp_path, {"Load": (False, "nodes", {}), "Text": (False, "nodes", {"t": ("STRING", {"multiline": True})})}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("photo.png", "sub/voice.opus", "3d/mesh.glb", "notes"):
        write(tmp_path / "input" / name, name)
    write(tmp_path / "outside.png")
    return tmp_path / "input"


def test_whole_names_of_existing_files_count(folder: Path, catalogue: FakeCatalogue) -> None:
    values = ["photo.png", "photo.png [input]", "sub/voice.opus", "a photo.png", "missing.png", "sub", "", 3, ["1", 0]]
    assert found(folder, catalogue, *values) == ["photo.png", "sub/voice.opus"]


@pytest.mark.parametrize("name", ["../outside.png", "sub/../../outside.png", "/etc/passwd", "a\0b", ".", "x" * 600])
def test_nothing_outside_of_the_input_folder(folder: Path, catalogue: FakeCatalogue, name: str) -> None:
    assert found(folder, catalogue, name) == []


def test_types_and_sizes(folder: Path, catalogue: FakeCatalogue) -> None:
    prompt = {
        name: {"class_type": "Load", "inputs": {"f": name}}
        for name in ("photo.png", "sub/voice.opus", "3d/mesh.glb", "notes")
    }
    files, warnings = find_resources(prompt, prompt, folder, catalogue)
    assert {file.path: (file.mime_type, file.size_bytes) for file in files} == {
        "photo.png": ("image/png", 9),
        "sub/voice.opus": ("audio/ogg", 14),
        "3d/mesh.glb": ("model/gltf-binary", 11),
        "notes": ("application/octet-stream", 5),
    }
    assert warnings == []


def test_prose_and_nodes_that_do_not_run_name_no_files(folder: Path, catalogue: FakeCatalogue) -> None:
    prompt = {
        "1": {"class_type": "Text", "inputs": {"t": "photo.png"}},
        "2": {"class_type": "Load", "inputs": {"image": "photo.png"}},
    }
    assert find_resources(prompt, ["1"], folder, catalogue) == ([], [])


def test_a_file_of_the_output_folder_is_warned_of(folder: Path, catalogue: FakeCatalogue) -> None:
    prompt = {"7": {"class_type": "Load", "inputs": {"image": "photo.png [output]"}}}
    files, warnings = find_resources(prompt, ["7"], folder, catalogue)
    assert files == []
    assert "Node 7 (Load)" in warnings[0]
