"""Custom nodes for the tests of the playground, placed into a ComfyUI: slow, failing, and file-making ones."""

import json
import shutil
import struct
import time
import wave
import zipfile
from pathlib import Path
from typing import Any


class Slow:
    """Passes a picture on after a number of steps of a twentieth of a second each."""

    CATEGORY, FUNCTION, RETURN_TYPES = "Test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "steps": ("INT", {"default": 20, "min": 1, "max": 100_000})}}

    def run(self, image: Any, steps: int) -> tuple[Any]:
        import comfy.model_management  # type: ignore[import-not-found]
        import comfy.utils  # type: ignore[import-not-found]
        from PIL import Image

        if steps < 0:
            raise ValueError(f"steps must be positive, not {steps}")
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(0.05)
            bar.update_absolute(step + 1, steps, ("JPEG", Image.new("RGB", (48, 30), (255 - step % 200, 120, 40)), 64))
        return (image,)


class Make:
    """Writes a small file of a kind into the output folder and returns its name."""

    CATEGORY, FUNCTION, RETURN_TYPES = "Test", "run", ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {"kind": (["mp4", "wav", "glb", "zip"],)},
            "optional": {"filename_prefix": ("STRING", {"default": "made"}), "copy_of": ("STRING", {"default": ""})},
        }

    def run(self, kind: str, filename_prefix: str, copy_of: str = "") -> tuple[str]:
        import folder_paths

        name = f"{filename_prefix}.{kind}"
        place = Path(folder_paths.get_output_directory()) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if copy_of:
            shutil.copy(Path(folder_paths.get_input_directory()) / copy_of, place)
        else:
            {"mp4": _mp4, "wav": _wav, "glb": _glb, "zip": _zip}[kind](place)
        return (name,)


def _mp4(place: Path) -> None:
    import av
    import numpy as np

    with av.open(str(place), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(20):
            pixels = np.full((96, 160, 3), (40 + 8 * number, 90, 200 - 6 * number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def _wav(place: Path) -> None:
    with wave.open(str(place), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def _zip(place: Path) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("readme.txt", "made by a test")


def _glb(place: Path) -> None:
    """A pyramid, orange on both sides."""
    corners = [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1), (0, 1.5, 0)]
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (0, 2, 1), (0, 3, 2)]
    points = b"".join(struct.pack("<3f", *corners[corner]) for face in faces for corner in face)
    material = {"doubleSided": True, "pbrMetallicRoughness": {"baseColorFactor": [0.9, 0.4, 0.1, 1]}}
    bounds = {"min": [-1, 0, -1], "max": [1, 1.5, 1]}
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "materials": [material],
        "buffers": [{"byteLength": len(points)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3 * len(faces), "type": "VEC3", **bounds}],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(points), 0x004E4942) + points
    place.write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)


NODE_CLASS_MAPPINGS = {"RunflowTestSlow": Slow, "RunflowTestMake": Make}
