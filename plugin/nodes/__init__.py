"""The nodes of the plugin, by class name and with the names shown in the editor."""

from __future__ import annotations

from .deploy import RunflowDeploy
from .inputs import (
    RunflowInputBoolean,
    RunflowInputFile,
    RunflowInputFloat,
    RunflowInputImage,
    RunflowInputInt,
    RunflowInputString,
)
from .outputs import RunflowOutputFile, RunflowOutputImage

NODE_CLASS_MAPPINGS: dict[str, type] = {
    "RunflowInputString": RunflowInputString,
    "RunflowInputInt": RunflowInputInt,
    "RunflowInputFloat": RunflowInputFloat,
    "RunflowInputBoolean": RunflowInputBoolean,
    "RunflowInputImage": RunflowInputImage,
    "RunflowInputFile": RunflowInputFile,
    "RunflowOutputImage": RunflowOutputImage,
    "RunflowOutputFile": RunflowOutputFile,
    "RunflowDeploy": RunflowDeploy,
}
"""Class name in a prompt → node class."""

NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "RunflowInputString": "Runflow Input (String)",
    "RunflowInputInt": "Runflow Input (Int)",
    "RunflowInputFloat": "Runflow Input (Float)",
    "RunflowInputBoolean": "Runflow Input (Boolean)",
    "RunflowInputImage": "Runflow Input (Image)",
    "RunflowInputFile": "Runflow Input (File)",
    "RunflowOutputImage": "Runflow Output (Image)",
    "RunflowOutputFile": "Runflow Output (File)",
    "RunflowDeploy": "Runflow Deploy",
}
"""Class name → name shown in the editor."""
