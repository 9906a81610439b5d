"""What the Runflow Save nodes take from ComfyUI: its audio encoder, and the names of its video formats."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def lacking() -> str | None:
    """Why this ComfyUI cannot encode for us, in words; None when it can. It is asked once, while the plugin loads."""
    try:
        from comfy_api.latest import Types, io, ui

        needed = (ui.AudioSaveHelper.save_audio, io.FolderType.temp, Types.VideoContainer.MP4, Types.VideoCodec.H264)
    except Exception as error:  # whatever a broken installation raises, the other nodes must load
        return str(error) or type(error).__name__
    return None if all(needed) else "comfy_api.latest is incomplete"


@contextmanager
def staging() -> Iterator[Path]:
    """A folder in ComfyUI's temp folder to encode into, gone at the end: a failure leaves no half file in output/."""
    import folder_paths

    temporary = Path(folder_paths.get_temp_directory())
    temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runflow-save-", dir=temporary, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def encode_audio(audio: dict[str, Any], folder: Path, file_format: str, quality: str) -> list[Path]:
    """Encode each audio of the batch with ComfyUI's AudioSaveHelper, without metadata, into `folder` of `staging`.

    Args:
        audio: ComfyUI's AUDIO, batch x channels x samples.
        folder: a folder of `staging`.
        file_format: `flac`, `mp3` or `opus`.
        quality: one of the helper's own words for that format.
    """
    from comfy_api.latest import io, ui

    # cls is where the helper would take prompt and workflow from.
    saved = ui.AudioSaveHelper.save_audio(
        audio, f"{folder.name}/audio", io.FolderType.temp, cls=None, format=file_format, quality=quality
    )
    return [folder / entry["filename"] for entry in saved]


def encode_mp4(video: Any, path: Path) -> None:
    """Write a VIDEO as MP4 with H.264, by its own `save_to`, which copies the streams where they fit already.

    Raises:
        ValueError: it is transparent, or has an odd width or height, and the encoder does not take that.
    """
    from comfy_api.latest import Types

    try:
        video.save_to(str(path), format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264, metadata=None)
    except Exception as error:
        reason = _why_not_mp4(video)
        if reason is None:
            raise
        raise ValueError(reason) from error


def _why_not_mp4(video: Any) -> str | None:
    width, height = video.get_dimensions()
    if width % 2 or height % 2:
        return f"H.264 needs an even width and height; the video has {width} x {height}. Crop or scale it before"
    # Of a video from a file this would decode everything.
    if type(video).__name__ == "VideoFromComponents" and video.get_components().images.shape[-1] == 4:
        return "MP4 has no transparency. Take it away before, or save the images as WEBM (vp9)"
    return None
