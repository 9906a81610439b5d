"""The Runflow Input nodes: each declares one input of the API and passes its value on.

A run replaces `value`; in the editor a node passes on what is wired to it, or its empty value when nothing is.
"""

from __future__ import annotations

from typing import Any, ClassVar


def _input_types(default_id: str, socket: str, *, file_name: bool = False) -> dict[str, dict[str, Any]]:
    # Only input_id is "required" for ComfyUI: prompts exported before a widget existed must still validate.
    optional: dict[str, Any] = {
        "display_name": ("STRING", {"default": "", "tooltip": "Label of the field in forms. Empty: the input_id."}),
        "description": ("STRING", {"default": "", "multiline": True, "tooltip": "Helper text shown with the field."}),
        "required": (
            "BOOLEAN",
            {"default": True, "tooltip": "Whether callers must send a value. Off: the workflow's own default applies."},
        ),
    }
    if file_name:
        tooltip = "A file in ComfyUI's input folder, used while nothing is wired and as the default when deployed."
        optional["file_name"] = ("STRING", {"default": "", "tooltip": tooltip})
    optional["value"] = (
        socket,
        {"forceInput": True, "tooltip": "A value to try the workflow with in the editor. Callers replace it."},
    )
    return {
        "required": {
            "input_id": ("STRING", {"default": default_id, "tooltip": "The key by which callers send this value."})
        },
        "optional": optional,
    }


class _InputNode:
    """What the input nodes share. ComfyUI calls `run` with the widgets by name; a pass-through needs only `value`."""

    CATEGORY: ClassVar[str] = "Runflow/Input"
    FUNCTION: ClassVar[str] = "run"
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("value",)
    UNWIRED: ClassVar[Any] = None

    def run(self, value: Any = None, **_widgets: Any) -> tuple[Any]:
        """Pass the value on, or the empty value of the type when nothing is wired."""
        return (self.UNWIRED if value is None else value,)


class RunflowInputString(_InputNode):
    """Runflow Input (String)."""

    DESCRIPTION: ClassVar[str] = "A text that callers of the deployed workflow send. Passes the wired text on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING",)
    UNWIRED: ClassVar[Any] = ""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _input_types("string_input", "STRING")


class RunflowInputInt(_InputNode):
    """Runflow Input (Int)."""

    DESCRIPTION: ClassVar[str] = "An integer that callers of the deployed workflow send. Passes the wired one on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("INT",)
    UNWIRED: ClassVar[Any] = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _input_types("int_input", "INT")


class RunflowInputFloat(_InputNode):
    """Runflow Input (Float)."""

    DESCRIPTION: ClassVar[str] = "A number that callers of the deployed workflow send. Passes the wired one on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("FLOAT",)
    UNWIRED: ClassVar[Any] = 0.0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _input_types("float_input", "FLOAT")


class RunflowInputBoolean(_InputNode):
    """Runflow Input (Boolean)."""

    DESCRIPTION: ClassVar[str] = "A switch that callers of the deployed workflow set. Passes the wired one on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("BOOLEAN",)
    UNWIRED: ClassVar[Any] = False

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _input_types("boolean_input", "BOOLEAN")


class RunflowInputImage(_InputNode):
    """Runflow Input (Image)."""

    DESCRIPTION: ClassVar[str] = "A picture that callers of the deployed workflow send. Wire one here to try it."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return {**_input_types("image_input", "IMAGE"), "hidden": {"unique_id": "UNIQUE_ID"}}

    def run(
        self, value: Any = None, input_id: str = "image_input", unique_id: object = None, **_widgets: Any
    ) -> tuple[Any]:
        """Pass the image on.

        Raises:
            ValueError: nothing is wired, or a text instead of a picture; there is no empty image to fall back on.
        """
        if value is None or not hasattr(value, "shape"):
            what = "has no picture" if value is None else f"got {type(value).__name__} instead of a picture"
            raise ValueError(
                f'Runflow Input (Image) "{input_id}" (node {unique_id}) {what}. '
                "Wire an image (for example from Load Image) to its value socket."
            )
        return (value,)


class RunflowInputFile(_InputNode):
    """Runflow Input (File): a file name under ComfyUI's input folder, as a plain string."""

    DESCRIPTION: ClassVar[str] = "A file that callers of the deployed workflow send, as its name in the input folder."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _input_types("file_input", "STRING", file_name=True)

    def run(self, value: Any = None, file_name: str = "", **_widgets: Any) -> tuple[Any]:
        """Pass the wired file name on; without one, the chosen `file_name`."""
        return (value or file_name,)
