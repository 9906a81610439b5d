"""The Runflow Input nodes: each declares one input of the API and passes its value on.

A run replaces `value`; in the editor a node passes on what is wired to it, else its default, else an empty value.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..graph.coerce import ValueRefused, coerce_default
from ..graph.runflow_nodes import (
    CHOICE_CLASS,
    CHOICES_FIELD,
    DEFAULT_FIELD,
    INPUT_CLASSES,
    NO_DEFAULT,
    default_text,
    unwired_text,
)

_DEFAULT_TOOLTIP = (
    "What a run uses when callers send nothing, which they may where required is off; forms start with it. Empty: the "
    "next node's own default."
)
_CHOICES_TOOLTIP = "What callers may send: one text in each line."


def _text(tooltip: str, **more: Any) -> tuple[str, dict[str, Any]]:
    # Text also for numbers: an empty widget is none, and seeds of 64 bits stay exact.
    return ("STRING", {"default": "", "tooltip": tooltip, **more})


def _input_types(
    default_id: str, socket: str, *, file_name: bool = False, more: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    # Only input_id is "required" for ComfyUI: prompts exported before a widget existed must still validate.
    optional: dict[str, Any] = {
        "display_name": _text("Label of the field in forms. Empty: the input_id."),
        "description": _text("Helper text shown with the field.", multiline=True),
        "required": (
            "BOOLEAN",
            {"default": True, "tooltip": "Whether callers must send a value. Off: the workflow's own default applies."},
        ),
    }
    if file_name:
        tooltip = "A file in ComfyUI's input folder, used while nothing is wired and as the default when deployed."
        optional["file_name"] = _text(tooltip)
    optional["value"] = (
        socket,
        {"forceInput": True, "tooltip": "A value to try the workflow with in the editor. Callers replace it."},
    )
    return {
        "required": {
            "input_id": ("STRING", {"default": default_id, "tooltip": "The key by which callers send this value."})
        },
        # Last: a saved workflow lists the values of widgets by their order.
        "optional": optional | (more or {}),
    }


def _number_types(default_id: str, socket: str) -> dict[str, dict[str, Any]]:
    more = {
        DEFAULT_FIELD: _text(_DEFAULT_TOOLTIP),
        "min": _text("Smallest value that callers may send. Empty: no limit."),
        "max": _text("Largest value that callers may send. Empty: no limit."),
        "step": _text("Distance between values, counted from min. Empty: any value."),
    }
    return _input_types(default_id, socket, more=more)


def _with_id(types: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {**types, "hidden": {"unique_id": "UNIQUE_ID"}}


class _AnyType(str):
    """A socket type that every other one takes: ComfyUIs compare types by `!=`."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return False


class _InputNode:
    """What the input nodes share. ComfyUI calls `run` with the widgets by name; a pass-through needs only `value`."""

    CATEGORY: ClassVar[str] = "Runflow/Input"
    FUNCTION: ClassVar[str] = "run"
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("value",)
    UNWIRED: ClassVar[Any] = None

    def run(
        self, value: Any = None, default_value: Any = "", input_id: str = "", unique_id: object = None, **_widgets: Any
    ) -> tuple[Any]:
        """Pass the value on; when nothing is wired the default, and without one the empty value of the type.

        Raises:
            ValueError: the default does not fit the type; names the node.
        """
        if value is not None:
            return (value,)
        name = type(self).__name__
        held = default_text(name, default_value)
        if held is None:
            return (self.UNWIRED,)
        try:
            return (coerce_default(INPUT_CLASSES[name], held),)
        except ValueRefused as refused:
            title = f"Runflow Input ({name.removeprefix('RunflowInput')})"
            raise ValueError(f'The default_value of {title} "{input_id}" (node {unique_id}) {refused}') from None


class RunflowInputString(_InputNode):
    """Runflow Input (String)."""

    DESCRIPTION: ClassVar[str] = "A text that callers of the deployed workflow send. Passes the wired text on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING",)
    UNWIRED: ClassVar[Any] = ""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        default = _text(_DEFAULT_TOOLTIP, multiline=True)
        return _with_id(_input_types("string_input", "STRING", more={DEFAULT_FIELD: default}))


class RunflowInputInt(_InputNode):
    """Runflow Input (Int)."""

    DESCRIPTION: ClassVar[str] = "An integer that callers of the deployed workflow send. Passes the wired one on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("INT",)
    UNWIRED: ClassVar[Any] = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _with_id(_number_types("int_input", "INT"))


class RunflowInputFloat(_InputNode):
    """Runflow Input (Float)."""

    DESCRIPTION: ClassVar[str] = "A number that callers of the deployed workflow send. Passes the wired one on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("FLOAT",)
    UNWIRED: ClassVar[Any] = 0.0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _with_id(_number_types("float_input", "FLOAT"))


class RunflowInputBoolean(_InputNode):
    """Runflow Input (Boolean)."""

    DESCRIPTION: ClassVar[str] = "A switch that callers of the deployed workflow set. Passes the wired one on here."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("BOOLEAN",)
    UNWIRED: ClassVar[Any] = False

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        default = ([NO_DEFAULT, "true", "false"], {"default": NO_DEFAULT, "tooltip": _DEFAULT_TOOLTIP})
        return _with_id(_input_types("boolean_input", "BOOLEAN", more={DEFAULT_FIELD: default}))

    @classmethod
    def VALIDATE_INPUTS(cls, default_value: object = None) -> bool:  # noqa: N802
        """Let a prompt that was written by hand hold `true` itself; `run` reads it."""
        return True


class RunflowInputImage(_InputNode):
    """Runflow Input (Image)."""

    DESCRIPTION: ClassVar[str] = "A picture that callers of the deployed workflow send. Wire one here to try it."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return _with_id(_input_types("image_input", "IMAGE"))

    def run(
        self,
        value: Any = None,
        default_value: Any = "",
        input_id: str = "image_input",
        unique_id: object = None,
        **_widgets: Any,
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

    def run(
        self,
        value: Any = None,
        default_value: Any = "",
        input_id: str = "",
        unique_id: object = None,
        file_name: str = "",
        **_widgets: Any,
    ) -> tuple[Any]:
        """Pass the wired file name on; without one, the chosen `file_name`."""
        return (value or file_name,)


class RunflowInputChoice(_InputNode):
    """Runflow Input (Choice): one of a list of texts, for widgets with choices too (a sampler, a model)."""

    DESCRIPTION: ClassVar[str] = "One of a list of texts that callers choose from. Fits widgets with choices too."
    RETURN_TYPES: ClassVar[tuple[str, ...]] = (_AnyType("*"),)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        more = {CHOICES_FIELD: _text(_CHOICES_TOOLTIP, multiline=True), DEFAULT_FIELD: _text(_DEFAULT_TOOLTIP)}
        return _with_id(_input_types("choice_input", "STRING", more=more))

    def run(
        self,
        value: Any = None,
        default_value: Any = "",
        input_id: str = "",
        unique_id: object = None,
        choices: str = "",
        **_widgets: Any,
    ) -> tuple[Any]:
        """Pass the wired text on; without one the default, and without that the first choice."""
        widgets = {DEFAULT_FIELD: default_value, CHOICES_FIELD: choices}
        return (unwired_text(CHOICE_CLASS, widgets) if value is None else value,)
