"""The Runflow Output nodes: each declares one deliverable of the API."""

from __future__ import annotations

from typing import Any, ClassVar

from ..graph.runflow_nodes import OUTPUT_SUBFOLDER_FIELD
from .output_paths import OutputPathError, existing_file, file_stem, inside, next_number, output_folder
from .png import save_new, to_pictures

_ID_TOOLTIP = "The name under which callers find this output."


def _output_types(default_id: str, socket: str, value_tooltip: str) -> dict[str, dict[str, Any]]:
    # The label is optional for ComfyUI, so that prompts written by hand may leave it out.
    return {
        "required": {
            "output_id": ("STRING", {"default": default_id, "tooltip": _ID_TOOLTIP}),
            "value": (socket, {"forceInput": True, "tooltip": value_tooltip}),
        },
        "optional": {
            "output_name": ("STRING", {"default": "", "tooltip": "Label of the output. Empty: the output_id."}),
        },
    }


class RunflowOutputImage:
    """Runflow Output (Image): saves each image of the batch as PNG."""

    CATEGORY: ClassVar[str] = "Runflow/Output"
    DESCRIPTION: ClassVar[str] = "Saves each image as PNG in the output folder and returns it to callers."
    FUNCTION: ClassVar[str] = "save"
    # What arrives goes on, so that previews and further steps can be wired behind the output.
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("value",)
    OUTPUT_NODE: ClassVar[bool] = True
    # Two such nodes with the same picture in one prompt must both report their files (ComfyUI would run only one).
    NOT_IDEMPOTENT: ClassVar[bool] = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form; the hidden subfolder is set in the prompt by the platform."""
        return {
            **_output_types("image_output", "IMAGE", "The images to deliver."),
            "hidden": {OUTPUT_SUBFOLDER_FIELD: "STRING", "unique_id": "UNIQUE_ID"},
        }

    def save(
        self,
        output_id: str,
        value: Any,
        output_name: str = "",
        output_subfolder: str = "",
        unique_id: object = None,
    ) -> dict[str, Any]:
        """Save the batch below the output folder, report the files in the history bucket `images`, pass the batch on.

        Raises:
            ValueError: the value is no image batch, or the subfolder leaves the output folder; names the node.
        """
        try:
            pictures = to_pictures(value)
            root = output_folder()
            folder = inside(root, output_subfolder) if output_subfolder else root
        except ValueError as error:
            raise ValueError(f'Runflow Output (Image) "{output_id}" (node {unique_id}): {error}.') from error
        folder.mkdir(parents=True, exist_ok=True)
        subfolder = "" if folder == root else folder.relative_to(root).as_posix()
        stem = file_stem(output_id)
        number = next_number(folder, stem)
        images = []
        for picture in pictures:
            # Another ComfyUI may write to the same folder: a number that is taken by now is skipped.
            while not save_new(picture, folder / f"{stem}_{number:05d}.png"):
                number += 1
            images.append({"filename": f"{stem}_{number:05d}.png", "subfolder": subfolder, "type": "output"})
            number += 1
        return {"ui": {"images": images}, "result": (value,)}


class RunflowOutputFile:
    """Runflow Output (File): marks a file that an upstream node wrote as a deliverable."""

    CATEGORY: ClassVar[str] = "Runflow/Output"
    DESCRIPTION: ClassVar[str] = "Returns a file that a saving node wrote below the output folder to callers."
    FUNCTION: ClassVar[str] = "mark"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("value",)
    OUTPUT_NODE: ClassVar[bool] = True
    NOT_IDEMPOTENT: ClassVar[bool] = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return {
            **_output_types("file_output", "STRING", "Name of the file, relative to the output folder."),
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs: Any) -> float:  # noqa: N802
        """Never equal to itself, so never cached: the file may be gone although its name is the same."""
        return float("nan")

    def mark(self, output_id: str, value: Any, output_name: str = "", unique_id: object = None) -> dict[str, Any]:
        """Report the file in the history bucket `files`, and pass its name on.

        Raises:
            ValueError: the path is empty, leaves the output folder, or names no file; names the node.
        """
        where = f'Runflow Output (File) "{output_id}" (node {unique_id})'
        if not isinstance(value, str):
            raise TypeError(f"{where}: expected the path of a file as text, got {type(value).__name__}.")
        try:
            filename, subfolder = existing_file(output_folder(), value)
        except OutputPathError as error:
            raise ValueError(f"{where}: {str(error).rstrip('.')}.") from error
        return {"ui": {"files": [{"filename": filename, "subfolder": subfolder, "type": "output"}]}, "result": (value,)}
