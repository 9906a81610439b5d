"""The Runflow Save Audio nodes: AUDIO to a file below output/, encoded as ComfyUI's own Save Audio does.

A batch becomes one file for each of its audios; the socket gives their names one after the other, so that one Runflow
Output (File) delivers them all.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .encoding import encode_audio, staging
from .save_paths import naming, place, relative_name, reported, save_types

_PREFIX = "audio/runflow"
_OPUS_RATES = ("64k", "96k", "128k", "192k", "320k")
_OPUS_RATE = "128k"
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def _check(audio: Any, file_format: str, quality: str) -> None:
    if audio is None:
        raise ValueError("it received no audio. Does the video that it comes from have sound?")
    shape = tuple(getattr(audio.get("waveform") if isinstance(audio, dict) else None, "shape", ()))
    if len(shape) != 3:
        raise ValueError(f"expected an AUDIO (batch, channels, samples), got {type(audio).__name__} of shape {shape}")
    if 0 in shape:
        raise ValueError(f"the audio is empty (batch, channels, samples: {shape})")
    if shape[1] > 2:
        raise ValueError(f"the audio has {shape[1]} channels; ComfyUI encodes one or two. Mix it down before")
    # The encoders' own refusals name no reason.
    rate = audio.get("sample_rate")
    if file_format == "mp3" and rate not in _MP3_RATES:
        rates = ", ".join(map(str, _MP3_RATES))
        raise ValueError(f"MP3 knows no sample rate of {rate} Hz, only {rates}. Resample it, or save as FLAC or Opus")
    if file_format == "opus" and quality not in _OPUS_RATES:
        raise ValueError(f"Opus knows no bitrate {quality!r:.40}, only {', '.join(_OPUS_RATES)}. Choose one of these")
    if file_format == "opus" and quality == "320k" and shape[1] == 1:
        raise ValueError("Opus takes at most 256k for one channel. Choose a bitrate of 192k or less")


class _SaveAudio:
    """What the audio nodes share."""

    CATEGORY: ClassVar[str] = "Runflow/Save"
    FUNCTION: ClassVar[str] = "save"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("filename",)
    OUTPUT_IS_LIST: ClassVar[tuple[bool, ...]] = (True,)
    OUTPUT_NODE: ClassVar[bool] = True
    NOT_IDEMPOTENT: ClassVar[bool] = True
    FORMAT: ClassVar[str]
    TITLE: ClassVar[str]

    @classmethod
    def IS_CHANGED(cls, **_inputs: Any) -> float:  # noqa: N802
        """Never equal to itself, so never cached: the file of the last time may be gone."""
        return float("nan")

    def _save(self, audio: Any, prefix: str, quality: str, subfolder: str, unique_id: object) -> dict[str, Any]:
        with naming(self.TITLE, unique_id):
            _check(audio, self.FORMAT, quality)
            with staging() as folder:
                saved = [place(each, prefix, subfolder) for each in encode_audio(audio, folder, self.FORMAT, quality)]
        return {"ui": {"audio": [reported(path) for path in saved]}, "result": ([relative_name(p) for p in saved],)}


class RunflowSaveAudioFLAC(_SaveAudio):
    """Runflow Save Audio (FLAC)."""

    DESCRIPTION: ClassVar[str] = "Saves audio as FLAC, without loss. Wire the file name to Runflow Output (File)."
    FORMAT: ClassVar[str] = "flac"
    TITLE: ClassVar[str] = "Runflow Save Audio (FLAC)"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return save_types("audio", "AUDIO", _PREFIX)

    def save(
        self, audio: Any, filename_prefix: str = _PREFIX, output_subfolder: str = "", unique_id: object = None
    ) -> dict[str, Any]:
        """Save each audio of the batch.

        Raises:
            ValueError: no audio, none that can be encoded, or a name that leaves output/; names the node.
        """
        return self._save(audio, filename_prefix, "", output_subfolder, unique_id)


class RunflowSaveAudioFlac(RunflowSaveAudioFLAC):
    """Runflow Save Audio (FLAC) under the name that it has in workflows of the original plugin.

    ComfyUI's menu and search leave deprecated nodes out, so that people find one node there.
    """

    DEPRECATED: ClassVar[bool] = True


class RunflowSaveAudioMP3(_SaveAudio):
    """Runflow Save Audio (MP3)."""

    DESCRIPTION: ClassVar[str] = "Saves audio as MP3. Wire the file name to Runflow Output (File)."
    FORMAT: ClassVar[str] = "mp3"
    TITLE: ClassVar[str] = "Runflow Save Audio (MP3)"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        tooltip = "V0: variable, the best. Else kilobits per second."
        quality = (["V0", "128k", "320k"], {"default": "V0", "tooltip": tooltip})
        return save_types("audio", "AUDIO", _PREFIX, quality=quality)

    def save(
        self,
        audio: Any,
        filename_prefix: str = _PREFIX,
        quality: str = "V0",
        output_subfolder: str = "",
        unique_id: object = None,
    ) -> dict[str, Any]:
        """Save each audio of the batch.

        Raises:
            ValueError: no audio, none that can be encoded, or a name that leaves output/; names the node.
        """
        return self._save(audio, filename_prefix, quality, output_subfolder, unique_id)


class RunflowSaveAudioOpus(_SaveAudio):
    """Runflow Save Audio (Opus)."""

    DESCRIPTION: ClassVar[str] = "Saves audio as Opus. Wire the file name to Runflow Output (File)."
    FORMAT: ClassVar[str] = "opus"
    TITLE: ClassVar[str] = "Runflow Save Audio (Opus)"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        types = save_types("audio", "AUDIO", _PREFIX)
        bitrate = (list(_OPUS_RATES), {"default": _OPUS_RATE, "tooltip": "Kilobits per second."})
        # Prompts of the original plugin say `quality` instead. A hidden input takes it and shows no second widget.
        return {**types, "optional": {"bitrate": bitrate}, "hidden": {**types["hidden"], "quality": "STRING"}}

    def save(
        self,
        audio: Any,
        filename_prefix: str = _PREFIX,
        bitrate: str = _OPUS_RATE,
        output_subfolder: str = "",
        unique_id: object = None,
        quality: str | None = None,
    ) -> dict[str, Any]:
        """Save each audio of the batch; `quality` is the original plugin's name of `bitrate`, and wins.

        Raises:
            ValueError: no audio, none that can be encoded, or a name that leaves output/; names the node.
        """
        return self._save(audio, filename_prefix, quality or bitrate, output_subfolder, unique_id)
