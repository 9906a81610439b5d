"""The node classes that declare an interface (docs/plugin.md, "Input nodes"), by their names in prompts, and types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class InputType(str, Enum):  # StrEnum needs Python 3.11; ComfyUI users are on 3.10 and later
    """`variable_type_code` of an input or output row; always lower case in answers."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOLEAN = "boolean"
    IMAGE = "image"
    FILE = "file"

    def __str__(self) -> str:
        return self.value

    @property
    def is_media(self) -> bool:
        """Whether callers send a reference to a file (asset, URL, data URI) instead of the value itself."""
        return self in (InputType.IMAGE, InputType.FILE)

    @classmethod
    def parse(cls, value: object) -> InputType:
        """Read a type code in any case (`"INT"` is accepted on input).

        Raises:
            ValueError: not one of the six codes; the message lists them.
        """
        if isinstance(value, str):
            try:
                return cls(value.strip().lower())
            except ValueError:
                pass
        allowed = ", ".join(member.value for member in cls)
        raise ValueError(f"{value!r} is not a variable type. Use one of: {allowed}.")


INPUT_CLASSES: dict[str, InputType] = {
    "RunflowInputString": InputType.STRING,
    "RunflowInputInt": InputType.INT,
    "RunflowInputFloat": InputType.FLOAT,
    "RunflowInputBoolean": InputType.BOOLEAN,
    "RunflowInputImage": InputType.IMAGE,
    "RunflowInputFile": InputType.FILE,
    "RunflowInputChoice": InputType.STRING,
}
"""Class name of each Runflow Input node and the type it declares."""

OUTPUT_CLASSES: dict[str, InputType] = {
    "RunflowOutputImage": InputType.IMAGE,
    "RunflowOutputFile": InputType.FILE,
}
"""Class name of each Runflow Output node and the type it declares."""

DEPLOY_CLASS = "RunflowDeploy"
"""The node with the Deploy button. It lives in the editor alone and is part of no prompt."""

CHOICE_CLASS = "RunflowInputChoice"
"""The node whose callers send one of a list of texts. Its output fits any widget with choices of its own."""

DEFAULT_FIELD = "default_value"
"""Widget of the input nodes for text, numbers and switches: what a run uses when callers send nothing."""

NO_DEFAULT = "none"
"""What that widget of Runflow Input (Boolean) holds where there is no default."""

CHOICES_FIELD = "choices"
"""Widget of Runflow Input (Choice): one text in each line."""

VALUE_FIELD = "value"
"""The socket of every Runflow node: an input receives the caller's value here, an output the deliverable."""

FILE_NAME_FIELD = "file_name"
"""Widget of Runflow Input (File): a file under ComfyUI's input folder, used while `value` is not wired."""

OUTPUT_SUBFOLDER_FIELD = "output_subfolder"
"""Hidden input of the nodes that save: the folder under output/ that their files go to, so each run has its own."""

SAVING_CLASSES = frozenset(
    {
        "RunflowOutputImage",
        "RunflowSaveAudioFLAC",
        "RunflowSaveAudioFlac",
        "RunflowSaveAudioMP3",
        "RunflowSaveAudioOpus",
        "RunflowSaveVideoMP4",
        "RunflowSaveVideoWEBM",
    }
)
"""The nodes with that hidden input. They put it in front of a `filename_prefix` themselves, a linked one too."""


def default_id(class_type: str) -> str:
    """The id that a fresh Runflow node carries: `string_input` … `file_input`, `image_output`, `file_output`."""
    if class_type == CHOICE_CLASS:
        return "choice_input"
    if class_type in INPUT_CLASSES:
        return f"{INPUT_CLASSES[class_type].value}_input"
    return f"{OUTPUT_CLASSES[class_type].value}_output"


def choices_of(text: object) -> tuple[str, ...]:
    """The texts that the widget of Runflow Input (Choice) lists, one in each line, without empty ones."""
    lines = text.splitlines() if isinstance(text, str) else ()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def default_text(class_type: str, held: object) -> object:
    """What the default widget of an input node holds, or None where it is empty."""
    is_empty = held == "" or (INPUT_CLASSES[class_type] is InputType.BOOLEAN and held == NO_DEFAULT)
    return None if is_empty else held


def unwired_text(class_type: str, widgets: Mapping[str, object]) -> object:
    """What a Runflow Input (String) or (Choice) passes on while nothing is wired: its default, or its first choice."""
    held = default_text(class_type, widgets.get(DEFAULT_FIELD))
    choices = choices_of(widgets.get(CHOICES_FIELD)) if class_type == CHOICE_CLASS else ()
    return held if held is not None else next(iter(choices), "")
