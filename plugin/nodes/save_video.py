"""The Runflow Save Video nodes: VIDEO to MP4, or a batch of images to WebM, in a file below output/."""

from __future__ import annotations

from typing import Any, ClassVar

from .containers import without_metadata, write_webm
from .encoding import encode_mp4, staging
from .save_paths import naming, place, relative_name, reported, save_types

_PREFIX = "video/runflow"


class _SaveVideo:
    """What the video nodes share."""

    CATEGORY: ClassVar[str] = "Runflow/Save"
    FUNCTION: ClassVar[str] = "save"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("filename",)
    OUTPUT_NODE: ClassVar[bool] = True
    NOT_IDEMPOTENT: ClassVar[bool] = True

    @classmethod
    def IS_CHANGED(cls, **_inputs: Any) -> float:  # noqa: N802
        """Never equal to itself, so never cached: the file of the last time may be gone."""
        return float("nan")


class RunflowSaveVideoMP4(_SaveVideo):
    """Runflow Save Video (MP4)."""

    DESCRIPTION: ClassVar[str] = "Saves a video as MP4 (H.264). Wire the file name to Runflow Output (File)."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form."""
        return save_types("video", "VIDEO", _PREFIX)

    def save(
        self, video: Any, filename_prefix: str = _PREFIX, output_subfolder: str = "", unique_id: object = None
    ) -> dict[str, Any]:
        """Save the video; what its source file said about itself is left out.

        Raises:
            ValueError: it cannot be encoded, or a name leaves output/; names the node.
        """
        with naming("Runflow Save Video (MP4)", unique_id):
            if not hasattr(video, "save_to"):
                raise ValueError(f"expected a VIDEO, got {type(video).__name__}")
            with staging() as folder:
                encode_mp4(video, folder / "video.mp4")
                saved = place(without_metadata(folder / "video.mp4"), filename_prefix, output_subfolder)
        return {"ui": {"images": [reported(saved)], "animated": (True,)}, "result": (relative_name(saved),)}


class RunflowSaveVideoWEBM(_SaveVideo):
    """Runflow Save Video (WEBM)."""

    DESCRIPTION: ClassVar[str] = "Saves images as WebM (VP9 or AV1). Wire the file name to Runflow Output (File)."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """Sockets and widgets, in ComfyUI's form: those of its own SaveWEBM."""
        vp9 = "vp9 keeps the transparency of images that have it; av1 makes smaller files."
        crf = "Higher: a smaller file of lower quality."
        return save_types(
            "images",
            "IMAGE",
            _PREFIX,
            codec=(["vp9", "av1"], {"default": "vp9", "tooltip": vp9}),
            fps=("FLOAT", {"default": 24.0, "min": 0.01, "max": 1000.0, "step": 0.01, "tooltip": "Images per second."}),
            crf=("FLOAT", {"default": 32.0, "min": 0.0, "max": 63.0, "step": 1.0, "tooltip": crf}),
        )

    def save(
        self,
        images: Any,
        filename_prefix: str = _PREFIX,
        codec: str = "vp9",
        fps: float = 24.0,
        crf: float = 32.0,
        output_subfolder: str = "",
        unique_id: object = None,
    ) -> dict[str, Any]:
        """Save the batch as one video.

        Raises:
            ValueError: no image batch, it cannot be encoded, or a name leaves output/; names the node.
        """
        with naming("Runflow Save Video (WEBM)", unique_id), staging() as folder:
            write_webm(folder / "video.webm", images, codec=codec, fps=fps, crf=crf)
            saved = place(folder / "video.webm", filename_prefix, output_subfolder)
        return {"ui": {"images": [reported(saved)], "animated": (True,)}, "result": (relative_name(saved),)}
