"""Is an upload really the image that it claims to be? Asked before it becomes an asset, not by a run that fails."""

from typing import BinaryIO

from PIL import Image

from runflow import errors
from runflow.assets.media_types import essence

MAX_PIXELS = 178_956_970
"""The size at which Pillow, and so ComfyUI's own LoadImage, refuses an image as a decompression bomb."""
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_TYPES_BY_FORMAT: dict[str, frozenset[str]] = {
    "PNG": frozenset({"image/png", "image/x-png", "image/apng", "image/vnd.mozilla.apng"}),
    "JPEG": frozenset({"image/jpeg", "image/jpg", "image/pjpeg", "image/jfif"}),
    # Cameras write a JPEG with a second picture behind it, and everyone calls it a JPEG.
    "MPO": frozenset({"image/jpeg", "image/jpg", "image/pjpeg", "image/mpo"}),
    "WEBP": frozenset({"image/webp"}),
    "GIF": frozenset({"image/gif"}),
    "BMP": frozenset({"image/bmp", "image/x-bmp", "image/x-ms-bmp"}),
    "TIFF": frozenset({"image/tiff", "image/tiff-fx", "image/x-tiff"}),
    "AVIF": frozenset({"image/avif", "image/avif-sequence"}),
    "JPEG2000": frozenset({"image/jp2", "image/jpx", "image/jpm", "image/j2k", "image/jpeg2000"}),
    "TGA": frozenset({"image/x-tga", "image/x-targa", "image/tga"}),
    "PPM": frozenset({f"image/x-portable-{kind}" for kind in ("anymap", "bitmap", "graymap", "pixmap", "floatmap")}),
    "PSD": frozenset({"image/vnd.adobe.photoshop", "image/x-photoshop", "image/x-psd", "image/psd"}),
}
_COMPARABLE = frozenset().union(*_TYPES_BY_FORMAT.values())

# Images that Pillow does not read, or reads only with all their pixels: an icon's header says 16x16 whatever the PNG
# inside has, and Pillow decodes that one to tell. What their first bytes must hold, and where.
_SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    **dict.fromkeys(("image/x-icon", "image/vnd.microsoft.icon", "image/ico"), ((0, b"\0\0\1\0"),)),
    "image/heic": ((4, b"ftyp"),),
    "image/heif": ((4, b"ftyp"),),
    "image/heic-sequence": ((4, b"ftyp"),),
    "image/heif-sequence": ((4, b"ftyp"),),
    "image/jxl": ((0, b"\xff\x0a"), (4, b"JXL ")),
    "image/x-exr": ((0, b"\x76\x2f\x31\x01"),),
    "image/aces": ((0, b"\x76\x2f\x31\x01"),),
    "image/vnd.radiance": ((0, b"#?"),),
    "image/x-hdr": ((0, b"#?"),),
    "image/ktx2": ((0, b"\xabKTX 20"),),
    "image/vnd-ms.dds": ((0, b"DDS "),),
    "image/vnd.ms-dds": ((0, b"DDS "),),
}
_HEAD_BYTES = 4096


def check_image(file: BinaryIO, mime_type: str) -> None:
    """Look whether the file is an image of the declared type. Blocking; reads the header and the checksums, no pixels.

    Types other than `image/…` pass. Raises `ValidationFailed` for bytes that are no image, or another kind of image, or
    one of more than `MAX_PIXELS`.
    """
    declared = essence(mime_type)
    if not declared.startswith("image/"):
        return
    if declared in _SIGNATURES or declared == "image/svg+xml":
        _check_signature(file.read(_HEAD_BYTES), declared)
        return
    found = _read(file, declared)
    if declared in _COMPARABLE and declared not in _TYPES_BY_FORMAT[found]:
        real = min(_TYPES_BY_FORMAT[found], key=len)
        raise errors.ValidationFailed(
            f"The file was declared as {declared} but its bytes are a {found} image. Declare it as {real}."
        )


def _read(file: BinaryIO, declared: str) -> str:
    """Return Pillow's name of the image's format."""
    Image.init()
    # Telling TGA from arbitrary bytes is guesswork, so only a file that says it is one is read as one. Pillow may be
    # built without some formats, and reads MPO as a kind of JPEG.
    formats = [
        name for name, types in _TYPES_BY_FORMAT.items() if name in Image.OPEN and (name != "TGA" or declared in types)
    ]
    try:
        with Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_many_pixels()
            found = image.format or ""
            image.verify()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels() from None
    except errors.RunflowError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise  # The disk failed, not the image.
        # Pillow's readers raise whatever their parsing stumbles over: SyntaxError, struct.error, KeyError, OSError …
        raise errors.ValidationFailed(
            f"The file was declared as {declared}, but its bytes are not a readable image. Send an image, or declare "
            "what it really is."
        ) from error
    return found


def _check_signature(head: bytes, declared: str) -> None:
    if declared == "image/svg+xml":
        fits = b"<svg" in head.lower() or b"<svg" in head.replace(b"\0", b"").lower()
    else:
        fits = any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES[declared])
    if not fits:
        raise errors.ValidationFailed(
            f"The file was declared as {declared}, but its bytes are not such an image. Send one, or declare what it "
            "really is."
        )


def _too_many_pixels() -> errors.ValidationFailed:
    return errors.ValidationFailed(f"The image has more than {MAX_PIXELS:,} pixels. Scale it down and send it again.")
