"""Prompts for a real ComfyUI, of stock nodes only."""

import uuid
from typing import Any

Prompt = dict[str, dict[str, Any]]


def node(class_type: str, title: str | None = None, /, **inputs: Any) -> dict[str, Any]:
    meta = {"_meta": {"title": title}} if title else {}
    return {"class_type": class_type, "inputs": inputs, **meta}


def new_id() -> str:
    return str(uuid.uuid4())


def text(value: str) -> Prompt:
    return {"1": node("PrimitiveString", value=value), "2": node("PreviewAny", source=["1", 0])}


def picture(folder: str, *, size: int = 64, color: int = 255) -> Prompt:
    return {
        "1": node("EmptyImage", width=size, height=size, batch_size=1, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=f"{folder}/picture"),
    }


def work(folder: str) -> Prompt:
    """A 512-pixel picture, scaled, inverted, blended and saved."""
    return {
        "1": node("EmptyImage", width=512, height=512, batch_size=1, color=16711680),
        "2": node("ImageScale", image=["1", 0], upscale_method="bilinear", width=768, height=768, crop="disabled"),
        "3": node("ImageInvert", image=["2", 0]),
        "4": node("ImageBlend", image1=["2", 0], image2=["3", 0], blend_factor=0.25, blend_mode="normal"),
        "5": node("SaveImage", images=["4", 0], filename_prefix=f"{folder}/work"),
    }


def twins(value: str) -> Prompt:
    """A text with two nodes of the same class and inputs: ComfyUI executes one where it may."""
    return {**text(value), "3": text(value)["2"]}


def long(folder: str, steps: int = 60) -> Prompt:
    """Many short steps, several seconds in all: ComfyUI looks for interrupts between them."""
    prompt = {"0": node("EmptyImage", width=2048, height=2048, batch_size=1, color=255)}
    for step in range(1, steps + 1):
        size = 2048 - step
        prompt[str(step)] = node(
            "ImageScale", image=[str(step - 1), 0], upscale_method="lanczos", width=size, height=size, crop="disabled"
        )
    prompt["999"] = node("SaveImage", images=[str(steps), 0], filename_prefix=f"{folder}/long")
    return prompt
