"""Video files by PyAV: a WebM from images, and an MP4 rid of what its source said about itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from .png import to_pictures

_ENCODERS = {"vp9": "libvpx-vp9", "av1": "libsvtav1"}
_AV1_MOST_FPS = 240
_AV1_LEAST_SIDE = 4
# What every MP4 says: its brand, and which program wrote it.
_OF_THE_FORMAT = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})


def write_webm(path: Path, images: Any, *, codec: str, fps: float, crf: float) -> None:
    """Encode an IMAGE batch at constant quality (`crf`, 0 to 63). With vp9 images of four channels keep their alpha.

    Raises:
        ValueError: no image batch, or an image without numbers.
    """
    import av
    import numpy as np

    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"expected an image batch (batch, height, width, channels), got shape {shape}")
    height, width, channels = shape[1:]
    if codec == "av1" and (fps > _AV1_MOST_FPS or min(height, width) < _AV1_LEAST_SIDE):
        raise ValueError(
            f"AV1 takes {_AV1_MOST_FPS} images per second at most and images of {_AV1_LEAST_SIDE} x {_AV1_LEAST_SIDE} "
            f"pixels at least; these are {width} x {height} at {fps:g}. Choose vp9"
        )
    alpha = channels == 4 and codec == "vp9"
    options = {"crf": str(round(crf)), **({"preset": "6"} if codec == "av1" else {})}
    with av.open(str(path), mode="w", format="webm") as container:
        stream = container.add_stream(_ENCODERS[codec], rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.width, stream.height = width, height
        # AV1 gains from ten bits at the same size. VP9 has alpha in eight only.
        stream.pix_fmt = "yuv420p10le" if codec == "av1" else "yuva420p" if alpha else "yuv420p"
        stream.bit_rate = 0  # else VP9 takes crf for a limit only
        for image in images:
            (picture,) = to_pictures(image)
            pixels = np.asarray(picture.convert("RGBA" if alpha else "RGB"))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if alpha else "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def without_metadata(path: Path) -> Path:
    """The MP4 file itself, or a copy beside it when it holds tags: a video of ComfyUI's own brings its workflow along.

    Streams are copied, not encoded again.
    """
    import av

    clean = path.with_name(f"clean-{path.name}")
    with av.open(str(path)) as source:
        if not set(source.metadata) - _OF_THE_FORMAT:
            return path
        with av.open(str(clean), mode="w", format="mp4", options={"movflags": "faststart"}) as target:
            kept = [each for each in source.streams if each.type in ("video", "audio", "subtitle")]
            copies = {each.index: target.add_stream_from_template(each, opaque=True) for each in kept}
            for packet in source.demux(*kept):
                if packet.dts is not None:  # the empty packet at the end
                    packet.stream = copies[packet.stream.index]
                    target.mux(packet)
    return clean
