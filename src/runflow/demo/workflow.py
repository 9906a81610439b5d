"""A workflow that needs no model weights: scale a photo, blur and invert a copy, blend the two."""

from typing import Any

SLUG = "runflow-demo"
NAME = "Runflow demo"
OUTPUT_ID = "picture"

PROMPT: dict[str, Any] = {
    "1": {
        "class_type": "RunflowInputImage",
        "_meta": {"title": "Photo"},
        "inputs": {"input_id": "photo", "display_name": "Photo", "description": "Any picture.", "required": True},
    },
    "2": {
        "class_type": "RunflowInputInt",
        "_meta": {"title": "Size"},
        "inputs": {
            "input_id": "size",
            "display_name": "Size",
            "description": "Width and height of the result, in pixels.",
            "required": False,
            "value": 512,
        },
    },
    "3": {
        "class_type": "RunflowInputFloat",
        "_meta": {"title": "Strength"},
        "inputs": {
            "input_id": "strength",
            "display_name": "Strength",
            "description": "0 keeps the photo, 1 is all effect.",
            "required": False,
            "value": 0.8,
        },
    },
    "4": {
        "class_type": "ImageScale",
        "_meta": {"title": "Scale"},
        "inputs": {
            "image": ["1", 0],
            "upscale_method": "lanczos",
            "width": ["2", 0],
            "height": ["2", 0],
            "crop": "center",
        },
    },
    "5": {
        "class_type": "ImageBlur",
        "_meta": {"title": "Blur"},
        "inputs": {"image": ["4", 0], "blur_radius": 12, "sigma": 6.0},
    },
    "6": {"class_type": "ImageInvert", "_meta": {"title": "Invert"}, "inputs": {"image": ["5", 0]}},
    "7": {
        "class_type": "ImageBlend",
        "_meta": {"title": "Blend"},
        "inputs": {"image1": ["4", 0], "image2": ["6", 0], "blend_factor": ["3", 0], "blend_mode": "difference"},
    },
    "8": {
        "class_type": "RunflowOutputImage",
        "_meta": {"title": "Picture"},
        "inputs": {"output_id": OUTPUT_ID, "output_name": "Picture", "value": ["7", 0]},
    },
}
"""In ComfyUI's API format, as Deploy sends it."""
