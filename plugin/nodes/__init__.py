"""The nodes of the plugin, by class name and with the names shown in the editor."""

from __future__ import annotations

import logging

from . import encoding
from .deploy import RunflowDeploy
from .inputs import (
    RunflowInputBoolean,
    RunflowInputChoice,
    RunflowInputFile,
    RunflowInputFloat,
    RunflowInputImage,
    RunflowInputInt,
    RunflowInputString,
)
from .outputs import RunflowOutputFile, RunflowOutputImage
from .save_audio import RunflowSaveAudioFLAC, RunflowSaveAudioFlac, RunflowSaveAudioMP3, RunflowSaveAudioOpus
from .save_video import RunflowSaveVideoMP4, RunflowSaveVideoWEBM

NODE_CLASS_MAPPINGS: dict[str, type] = {
    "RunflowInputString": RunflowInputString,
    "RunflowInputInt": RunflowInputInt,
    "RunflowInputFloat": RunflowInputFloat,
    "RunflowInputBoolean": RunflowInputBoolean,
    "RunflowInputImage": RunflowInputImage,
    "RunflowInputFile": RunflowInputFile,
    "RunflowInputChoice": RunflowInputChoice,
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
    "RunflowInputChoice": "Runflow Input (Choice)",
    "RunflowOutputImage": "Runflow Output (Image)",
    "RunflowOutputFile": "Runflow Output (File)",
    "RunflowDeploy": "Runflow Deploy",
}
"""Class name → name shown in the editor."""

_missing = encoding.lacking()
if _missing is None:
    NODE_CLASS_MAPPINGS |= {
        "RunflowSaveAudioFLAC": RunflowSaveAudioFLAC,
        "RunflowSaveAudioFlac": RunflowSaveAudioFlac,
        "RunflowSaveAudioMP3": RunflowSaveAudioMP3,
        "RunflowSaveAudioOpus": RunflowSaveAudioOpus,
        "RunflowSaveVideoMP4": RunflowSaveVideoMP4,
        "RunflowSaveVideoWEBM": RunflowSaveVideoWEBM,
    }
    NODE_DISPLAY_NAME_MAPPINGS |= {
        "RunflowSaveAudioFLAC": "Runflow Save Audio (FLAC)",
        "RunflowSaveAudioFlac": "Runflow Save Audio (FLAC)",
        "RunflowSaveAudioMP3": "Runflow Save Audio (MP3)",
        "RunflowSaveAudioOpus": "Runflow Save Audio (Opus)",
        "RunflowSaveVideoMP4": "Runflow Save Video (MP4)",
        "RunflowSaveVideoWEBM": "Runflow Save Video (WEBM)",
    }
else:
    logging.getLogger(__name__).warning(
        "Runflow: the nodes of Runflow/Save are left out, because they need a newer ComfyUI (%s).", _missing
    )
