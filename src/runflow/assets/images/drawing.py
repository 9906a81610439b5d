"""Drawing thumbnails: pure, and the process in which the server has it done.

Decoding is where a hostile picture would attack: 700 bytes of JPEG 2000 take a gigabyte and seconds, and a JPEG of many
scans hours. So `python -m runflow.assets.images.drawing` is sent pictures and answers with thumbnails, of 0 bytes where
there is none. It may be killed at any time and ends with its input (`drawing_process.py` is the other end).
"""

import io
import signal
from itertools import chain

from PIL import Image

from runflow.sandbox.connection import ServerConnection

SIDE = 512
MAX_PIXELS = 32_000_000
"""What is decoded for a thumbnail: 128 MB in memory at four bytes a pixel. Larger images go without one."""
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "PSD")
"""What is decoded, whatever type was declared. Pillow reads more: some with other programs' help (EPS), and some that
decode more pixels than their header says (icons)."""
MEMORY_BYTES = 1024**3
"""Address space of the process."""
FILE_BYTES = 1024**2
LIFE_SECONDS = 60
"""The process ends itself when one picture takes longer."""

_ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn an image upright, by its Exif orientation."""


def draw(content: bytes) -> bytes | None:
    """Return the thumbnail of an image, upright, without metadata; None for what cannot be read. Blocking."""
    try:
        with Image.open(io.BytesIO(content), formats=_readable()) as image:
            # A JPEG is decoded at a fraction of its size, so the limit is on what is really decoded.
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            if max(image.width * image.height, _tile_pixels(image)) > MAX_PIXELS:
                return None
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            small = _eight_bit(image)
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
            if turn is not None:
                small = small.transpose(turn)
            out = io.BytesIO()
            small.save(out, "WEBP", quality=80, method=4)
    # Pillow's readers raise whatever their parsing stumbles over: SyntaxError, struct.error, KeyError, MemoryError …
    except Exception:
        return None
    return out.getvalue()


def _readable() -> list[str]:
    """Return those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _tile_pixels(image: Image.Image) -> int:
    """Return how many pixels one tile of a TIFF has, 0 of anything else: a tile is decoded whole, however small the
    image that it is a tile of.
    """
    tags = getattr(image, "tag_v2", None) or {}
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    return int(width) * int(height)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the image in a mode that WebP takes, sixteen bits scaled to eight."""
    if image.mode in ("RGB", "RGBA"):
        return image
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 256).convert("RGB")
    transparent = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def main() -> None:
    """Serve until the input ends."""
    server = ServerConnection(memory_bytes=MEMORY_BYTES, file_bytes=FILE_BYTES)
    # An empty picture has no thumbnail: the answer says that the process is there, with its decoders loaded.
    for content in chain([b""], server.messages()):
        # Also when the server was killed meanwhile and cannot end a picture that takes hours.
        signal.alarm(LIFE_SECONDS)
        small = draw(content) or b""
        signal.alarm(0)
        server.answer(small)


if __name__ == "__main__":
    main()
