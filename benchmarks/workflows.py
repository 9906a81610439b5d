"""The workflows that the benchmarks run: each execution differs in one number, so that no cache answers."""

from typing import Any

Prompt = dict[str, dict[str, Any]]


def trivial() -> Prompt:
    """One 64-pixel picture: the engine needs about 4 ms."""
    return {
        "1": {
            "class_type": "RunflowInputInt",
            "inputs": {"input_id": "colour", "display_name": "Colour", "description": "", "required": True},
        },
        "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": ["1", 0]}},
        "9": {
            "class_type": "RunflowOutputImage",
            "inputs": {"output_id": "picture", "output_name": "Picture", "value": ["2", 0]},
        },
    }


def half_k() -> Prompt:
    """A 512-pixel picture through three image nodes: the engine needs about 25 ms."""
    prompt = trivial()
    prompt["2"]["inputs"] |= {"width": 512, "height": 512}
    prompt["3"] = {
        "class_type": "ImageScale",
        "inputs": {"image": ["2", 0], "upscale_method": "bilinear", "width": 768, "height": 768, "crop": "disabled"},
    }
    prompt["4"] = {"class_type": "ImageInvert", "inputs": {"image": ["3", 0]}}
    prompt["5"] = {
        "class_type": "ImageBlend",
        "inputs": {"image1": ["3", 0], "image2": ["4", 0], "blend_factor": 0.3, "blend_mode": "multiply"},
    }
    prompt["9"]["inputs"]["value"] = ["5", 0]
    return prompt


def bound(prompt: Prompt, colour: int) -> Prompt:
    """The prompt as a direct caller of ComfyUI sends it."""
    node = {**prompt["1"], "inputs": {**prompt["1"]["inputs"], "value": colour}}
    return {**prompt, "1": node}
