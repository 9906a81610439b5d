"""Small prompts for the end-to-end tests."""

from typing import Any

Prompt = dict[str, dict[str, Any]]


def node(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
    return {**made, "_meta": {"title": title}} if title else made


def output(source: str) -> dict[str, Any]:
    return node("RunflowOutputImage", output_id="picture", output_name="", value=[source, 0])


def sleep(seconds: float = 1.0) -> Prompt:
    return {
        "1": node("RunflowInputInt", input_id="colour", display_name="", description="", required=True),
        "2": node("TestSleep", "Nap", seconds=seconds, colour=["1", 0]),
        "9": output("2"),
    }


def tint() -> Prompt:
    """Of ComfyUI's own nodes and ours."""
    empty = node("EmptyImage", width=16, height=16, batch_size=1, color=["1", 0])
    return {**sleep(), "2": empty}


def hold(name: str) -> Prompt:
    """The first try of each run lasts until it is ended from outside; `name` is that of no other test."""
    return {**sleep(), "2": node("TestHold", name=name, colour=["1", 0])}


def show() -> Prompt:
    """Shows pictures of what it is working on until it is ended from outside."""
    return {**sleep(), "2": node("TestShow", colour=["1", 0])}


def boom() -> Prompt:
    return {"2": node("TestBoom", "Fuse", text="kaput"), "9": output("2")}


def ending() -> Prompt:
    return {"2": node("TestExit", code=3), "9": output("2")}


def blend() -> Prompt:
    image: dict[str, Any] = {"display_name": "", "description": "", "required": True}
    return {
        "1": node("RunflowInputImage", input_id="first", **image),
        "2": node("RunflowInputImage", input_id="second", **image),
        "3": node("ImageBlend", image1=["1", 0], image2=["2", 0], blend_factor=0.5, blend_mode="normal"),
        "9": output("3"),
    }
