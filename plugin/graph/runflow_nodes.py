"""The node classes that declare an interface, by the names that stand in prompts (docs/plugin.md, "Input nodes")."""

from __future__ import annotations

from .types import InputType

INPUT_CLASSES: dict[str, InputType] = {
    "RunflowInputString": InputType.STRING,
    "RunflowInputInt": InputType.INT,
    "RunflowInputFloat": InputType.FLOAT,
    "RunflowInputBoolean": InputType.BOOLEAN,
    "RunflowInputImage": InputType.IMAGE,
    "RunflowInputFile": InputType.FILE,
}
"""Class name of each Runflow Input node and the type it declares."""

OUTPUT_CLASSES: dict[str, InputType] = {
    "RunflowOutputImage": InputType.IMAGE,
    "RunflowOutputFile": InputType.FILE,
}
"""Class name of each Runflow Output node and the type it declares."""

DEPLOY_CLASS = "RunflowDeploy"
"""The node with the Deploy button. It lives in the editor alone and is part of no prompt."""

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
        "RunflowSaveAudioMP3",
        "RunflowSaveAudioOpus",
        "RunflowSaveVideoMP4",
        "RunflowSaveVideoWEBM",
    }
)
"""The nodes with that hidden input. They put it in front of a `filename_prefix` themselves, a linked one too."""


def default_id(class_type: str) -> str:
    """The id that a fresh Runflow node carries: `string_input` … `file_input`, `image_output`, `file_output`."""
    if class_type in INPUT_CLASSES:
        return f"{INPUT_CLASSES[class_type].value}_input"
    return f"{OUTPUT_CLASSES[class_type].value}_output"
