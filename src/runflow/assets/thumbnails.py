"""Small pictures of images, for lists of assets: WebP of at most 512 pixels a side, made once, stored as an object."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import structlog
from PIL import Image

from runflow import errors
from runflow.assets.kinds import AssetType, asset_type
from runflow.services import Services

log = structlog.get_logger()

THUMBNAILS = "thumbnails"
SIDE = 512
MAX_SOURCE_BYTES = 64 * 1024 * 1024
MAX_SOURCE_PIXELS = 32_000_000
"""What is decoded for a thumbnail: 128 MB in memory at four bytes a pixel. Larger images go without one."""
MAX_THUMBNAIL_BYTES = 4 * 1024 * 1024
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "PSD")
"""What is decoded, whatever type was declared. Pillow reads more: some with other programs' help (EPS), and some that
decode more pixels than their header says (icons)."""
NONE = ""
"""Instead of a key: no thumbnail can be made of this asset, so it is not tried again."""
_AT_ONCE = 1

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

_threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="thumbnails")
# Not only the decoding: whoever waits for a thread must not hold a whole image in memory already.
_places = asyncio.Semaphore(_AT_ONCE)


async def make(services: Services, asset_id: UUID, object_key: str, mime_type: str, size_bytes: int) -> str:
    """Make and store the thumbnail of an asset; return its key, or `NONE` where there can be none.

    Never raises for an image that cannot be read. Raises `Unavailable` when storage fails, `NotFound` when the object
    is gone.
    """
    if asset_type(mime_type) is not AssetType.IMAGE or size_bytes > MAX_SOURCE_BYTES:
        return NONE
    async with _places:
        content = b"".join([chunk async for chunk in await services.storage.open(object_key)])
        small = await asyncio.get_running_loop().run_in_executor(_threads, draw, content)
    if small is None:
        return NONE
    key = f"{THUMBNAILS}/{asset_id}/thumbnail.webp"
    await services.storage.put(key, small, limit=MAX_THUMBNAIL_BYTES, content_type="image/webp")
    return key


async def make_or_go_without(
    services: Services, asset_id: UUID, object_key: str, mime_type: str, size_bytes: int
) -> str | None:
    """Do the same, but return None where storage fails: a thumbnail is no reason to refuse a file."""
    try:
        return await make(services, asset_id, object_key, mime_type, size_bytes)
    except errors.RunflowError as error:
        log.warning("no thumbnail", asset_id=str(asset_id), error=error.message)
        return None


def draw(content: bytes) -> bytes | None:
    """Return the thumbnail of an image, upright, without metadata; None for what Pillow cannot read. Blocking."""
    try:
        with Image.open(io.BytesIO(content), formats=_readable()) as image:
            # A JPEG is decoded at a fraction of its size, so the limit is on what is really decoded.
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            if max(image.width * image.height, _tile_pixels(image)) > MAX_SOURCE_PIXELS:
                return None
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            small = _eight_bit(image)
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
            if turn is not None:
                small = small.transpose(turn)
            out = io.BytesIO()
            small.save(out, "WEBP", quality=80, method=4)
    # Pillow's readers raise whatever their parsing stumbles over: SyntaxError, struct.error, KeyError, OSError …
    except Exception as error:
        log.info("no thumbnail", error=str(error) or repr(error))
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
