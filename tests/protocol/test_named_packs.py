"""The shapes in which versions name node packs."""

from typing import Any

import pytest

from runflow.protocol.named_packs import is_brought_along, is_folder_name, named_packs, origin_of

ROW = {"origin": " https://host/pack ", "commit": "c"}


@pytest.mark.parametrize("shape", [{"pack": ROW}, [{"name": "pack", **ROW}], [{"directory": "pack", **ROW}]])
def test_packs_come_as_objects_and_as_arrays(shape: Any) -> None:
    ((name, row),) = named_packs(shape)
    assert (name, origin_of(row)) == ("pack", "https://host/pack")


@pytest.mark.parametrize("shape", [None, "pack", 3, {}, []])
def test_what_is_no_shape_names_none(shape: Any) -> None:
    assert named_packs(shape) == []


@pytest.mark.parametrize("key", ["origin", "url", "repo"])
def test_an_origin_has_three_names(key: str) -> None:
    assert origin_of({key: "https://host/pack"}) == "https://host/pack"
    assert origin_of({key: 3}) is None


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("ComfyUI-Runflow", None, True),
        ("mine", {"plugin": True}, True),
        ("mine", {"url": "https://github.com/runflow-io/ComfyUI-Runflow.git"}, True),
        ("websocket_image_save", {}, True),
        ("websocket_image_save", ROW, False),
        ("mine", ROW, False),
        (3, "text", False),
    ],
)
def test_what_every_worker_brings_along(name: Any, row: Any, expected: bool) -> None:
    assert is_brought_along(name, row) is expected


@pytest.mark.parametrize("name", ["a/b", "..", ".git", "", "x.disabled", "__pycache__", "a\n", "x" * 201, 3])
def test_what_is_no_folder_of_a_pack(name: Any) -> None:
    assert not is_folder_name(name)
