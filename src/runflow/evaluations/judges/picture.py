"""Decoded pictures: bounded in pixels, in one colour space, with the views that judges share."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 8192 * 8192
"""Largest picture that is judged. Its pixels take 192 MiB; see `MEMORY_BYTES` of the judging process."""
VIEW_SIDE = 1024
"""Long side of the view in which blur is measured: a picture as it is seen whole on a screen."""

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")
"""What is decoded. Pillow reads more, some of it with other programs' help."""

Levels = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PictureFault:
    """Why a file is no picture that can be judged: `empty`, `unreadable`, `truncated` or `too_large`."""

    subcategory: str
    detail: str


@dataclass(frozen=True)
class Picture:
    """A decoded picture; of an animation the first frame. `image` is RGB, what is transparent filled in.

    `opaque` marks the pixels that can be seen, None where all can.
    """

    image: Image.Image
    opaque: npt.NDArray[np.bool_] | None = None

    @property
    def width(self) -> int:
        """In pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """In pixels."""
        return self.image.height

    @cached_property
    def rgb(self) -> Bytes:
        """Height × width × 3."""
        return np.asarray(self.image)

    @cached_property
    def grey(self) -> Image.Image:
        """The luma, Rec. 601."""
        return self.image.convert("L")

    @cached_property
    def luma(self) -> Bytes:
        """Height × width."""
        return np.asarray(self.grey)

    @cached_property
    def view(self) -> Levels:
        """The luma scaled down so that its long side has at most `VIEW_SIDE` pixels; never scaled up."""
        return np.asarray(shrunk(self.image, VIEW_SIDE).convert("L"), np.float32)


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return the image with a long side of at most `side`, areas averaged."""
    factor = side / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.HAMMING)


def open_picture(path: Path) -> Picture | PictureFault:
    """Decode a file. What is wrong with it is a value; only the machine's own trouble is raised (OSError)."""
    size = path.stat().st_size
    if not size:
        return PictureFault("empty", "The file is empty: it has 0 bytes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_readable()) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    return _too_large(width, height)
                opened.load()
                return _picture(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        return PictureFault("unreadable", f"The file of {size} bytes is not an image of a known format.")
    except Image.DecompressionBombError:
        return PictureFault("too_large", f"The image has more than the {MAX_PIXELS:,} pixels that are judged.")
    except MemoryError:
        return PictureFault("too_large", "The image needs more memory than a judging process may use.")
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        # Pillow's readers raise whatever their parsing stumbles over: SyntaxError, struct.error, KeyError, OSError …
        if "truncated" in str(error).lower():
            return PictureFault("truncated", "The image ends too early: a part of its pixels is missing.")
        return PictureFault("unreadable", f"The image cannot be decoded: its {size} bytes are damaged.")


def _readable() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _too_large(width: int, height: int) -> PictureFault:
    return PictureFault(
        "too_large", f"The image has {width} × {height} pixels, more than the {MAX_PIXELS:,} that are judged."
    )


def _picture(image: Image.Image) -> Picture:
    """Bring any mode to RGB; 16-bit and floating-point grey keep their upper eight bits."""
    if image.mode.startswith(("I", "F")):
        return Picture(Image.fromarray(_eight_bit(np.asarray(image))).convert("RGB"))
    if not image.has_transparency_data:
        return Picture(image.convert("RGB"))
    full = image.convert("RGBA")
    opaque = np.asarray(full.getchannel("A")) >= 128
    rgb = full.convert("RGB")
    if opaque.all() or not opaque.any():
        return Picture(rgb, None if opaque.any() else opaque)
    # Filled with the mean of what is visible, the outline makes as little of an edge as it can.
    mean = tuple(int(level) for level in np.asarray(rgb)[opaque].mean(axis=0))
    ground = Image.new("RGB", full.size, mean)
    ground.paste(rgb, mask=full.getchannel("A"))
    return Picture(ground, opaque)


def _eight_bit(levels: npt.NDArray[Any]) -> Bytes:
    if levels.dtype.kind == "f":
        top = 1.0 if np.nanmax(levels, initial=0.0) <= 1.0 else 255.0
        return np.asarray(np.nan_to_num(levels / top * 255.0).clip(0, 255), np.uint8)
    return np.asarray((levels.astype(np.int64) >> 8).clip(0, 255), np.uint8)
