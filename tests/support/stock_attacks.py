"""Attacks by workflows of ComfyUI's own nodes: what a tenant can do whose node packs are not installed anywhere.

ComfyUI checks that a folder or file is one of its list only where the prompt names it; a value that comes over a link
is not checked, and a switch gives its type to whatever it is linked to. So every list can be left.
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.support.e2e_prompts import Prompt, node, output

SHARED = "shared"
"""A name below the output folder that two tenants know."""


class Reading(NamedTuple):
    """A workflow that reads a folder or a file of that path, and what it tries."""

    prompt: Callable[[str], Prompt]
    tries: str


def linked(text: str) -> Prompt:
    """The nodes 1 and 2, of which the second gives a text to whatever takes one of a list."""
    return {
        "1": node("PrimitiveString", value=text),
        "2": node("ComfySwitchNode", switch=True, on_false=["1", 0], on_true=["1", 0]),
    }


def read_folder(folder: str) -> Prompt:
    """Return every picture of a folder."""
    return {**linked(folder), "3": node("LoadImageTextDataSetFromFolder", folder=["2", 0]), "9": output("3")}


def read_file(path: str) -> Prompt:
    """Return a picture by its path."""
    return {**linked(path), "3": node("LoadImage", image=["2", 0]), "9": output("3")}


def read_mask(path: str) -> Prompt:
    """Return a picture's red channel by its path."""
    load = node("LoadImageMask", image=["2", 0], channel="red")
    return {**linked(path), "3": load, "4": node("MaskToImage", mask=["3", 0]), "9": output("4")}


def save_outside(prefix: str) -> Prompt:
    """Save a picture of the caller's under a name that the platform cannot know before it runs, and deliver it."""
    return {
        "1": node("PrimitiveString", value=prefix),
        "3": node("RunflowInputImage", input_id="photo", display_name="", description="", required=True),
        "4": node("SaveImage", images=["3", 0], filename_prefix=["1", 0]),
        "9": output("3"),
    }


def save_dataset(folder: str) -> Prompt:
    """Save it into a folder that no prefix names, and deliver it."""
    saved = node(
        "SaveImageDataSetToFolder", images=["3", 0], folder_name=folder, filename_prefix=["1", 0], mode="overwrite"
    )
    return {**save_outside("image"), "4": saved}


READINGS: dict[str, Reading] = {
    "stock-absolute-folder": Reading(read_folder, "any folder of the machine, named in full, by a loader of data sets"),
    "stock-relative-folder": Reading(
        lambda path: read_folder("../" * 20 + path.lstrip("/")), "the same by `..`, out of the input folder"
    ),
    "stock-load-image": Reading(read_file, "a picture by its full path, by the node that loads one"),
    "stock-load-relative": Reading(lambda path: read_file("../" * 20 + path.lstrip("/")), "the same by `..`"),
    "stock-load-mask": Reading(read_mask, "the same by the node that loads a mask"),
}
"""Workflows that read what is outside of the engine's folders."""

LEAVINGS: dict[str, tuple[Callable[[str], Prompt], Callable[[str], Prompt], str]] = {
    "stock-linked-prefix": (
        save_outside,
        lambda name: read_folder(f"../output/{name.rpartition('/')[0]}"),
        "a former tenant's picture that a linked `filename_prefix` saved outside of its run's folder",
    ),
    "stock-data-set": (
        save_dataset,
        lambda name: read_folder(f"../output/{name}"),
        "a former tenant's picture that was saved as a data set, with no prefix at all",
    ),
}
"""What one tenant saves, how another reads it, and what that tries."""


def paint_stock(colour: tuple[int, int, int]) -> Prompt:
    """Save a picture of that colour under a name that a link gives, and deliver it."""
    number = colour[0] << 16 | colour[1] << 8 | colour[2]
    return {
        "1": node("PrimitiveString", value=f"{SHARED}/painted"),
        "3": node("EmptyImage", width=16, height=16, batch_size=1, color=number),
        "4": node("SaveImage", images=["3", 0], filename_prefix=["1", 0]),
        "9": output("3"),
    }
