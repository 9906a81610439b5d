"""A model file of a kilobyte that ComfyUI really loads: an upscaler whose weights are zero, so it repeats pixels."""

import json
import math
import struct
from typing import Any

from tests.support.e2e_prompts import node, output

FEATURES, SCALE = 4, 2
SHAPES = {
    "body.0.weight": (FEATURES, 3, 3, 3),
    "body.0.bias": (FEATURES,),
    "body.1.weight": (FEATURES,),
    "body.2.weight": (FEATURES, FEATURES, 3, 3),
    "body.2.bias": (FEATURES,),
    "body.3.weight": (FEATURES,),
    "body.4.weight": (3 * SCALE**2, FEATURES, 3, 3),
    "body.4.bias": (3 * SCALE**2,),
}
"""The layers of a SRVGGNetCompact (Real-ESRGAN's small architecture) with one convolution."""


def safetensors(note: str, added: float = 0.0) -> bytes:
    """The model as a safetensors file; `note` makes its content differ from any other test's.

    `added` is what it adds to each colour of each pixel.
    """
    header: dict[str, Any] = {"__metadata__": {"note": note}}
    end = 0
    for name, shape in SHAPES.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    weights = bytearray(end)
    start, stop = header["body.4.bias"]["data_offsets"]
    weights[start:stop] = struct.pack("<f", added) * ((stop - start) // 4)
    return struct.pack("<Q", len(text)) + text + bytes(weights)


def prompt(model_name: str) -> dict[str, Any]:
    """A red square of 16 pixels a side, twice as large."""
    return {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=0xFF0000),
        "2": node("UpscaleModelLoader", model_name=model_name),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "9": output("3"),
    }
