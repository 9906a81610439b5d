from typing import Any

from plugin.manifest.separators import with_forward_slashes

PATHS = ["checkpoints/SDXL/base.safetensors", "ultralytics/bbox/a/face.pt", "sub/photo.png"]


def test_names_of_files_get_forward_slashes_and_nothing_else_changes() -> None:
    inputs = {"ckpt_name": "SDXL\\base.safetensors", "model": "a\\face.pt", "image": "sub\\photo.png"}
    others: dict[str, Any] = {
        "text": "a \\(white\\) base.safetensors",
        "x": "DXL\\base.safetensors",
        "n": 3,
        "l": ["1", 0],
    }
    prompt = {"1": {"class_type": "X", "inputs": {**inputs, **others}, "_meta": {}}}
    expected = {name: value.replace("\\", "/") for name, value in inputs.items()}
    assert with_forward_slashes(prompt, PATHS) == {"1": {**prompt["1"], "inputs": {**expected, **others}}}
    assert prompt["1"]["inputs"] == {**inputs, **others}
