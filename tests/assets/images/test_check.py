import contextlib
import io
import struct
import zlib

import pytest
from PIL import Image, ImageFile, features

from runflow import errors
from runflow.assets.images.check import MAX_PIXELS, check_image
from tests.support.uploading import picture


def check(content: bytes, mime_type: str) -> None:
    check_image(io.BytesIO(content), mime_type)


@pytest.mark.parametrize(
    ("kind", "mime_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("JPEG", "image/jpg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
        ("TGA", "image/x-tga"),
        ("PNG", "Image/PNG; charset=binary"),
        ("PNG", "image/x-something-new"),
    ],
)
def test_images_are_what_they_say(kind: str, mime_type: str) -> None:
    check(picture(kind), mime_type)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_image() -> None:
    check(picture("AVIF"), "image/avif")


def test_a_jpeg_with_a_second_picture_is_a_jpeg() -> None:
    out = io.BytesIO()
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red")
    first.save(out, "MPO", save_all=True, append_images=[second])
    check(out.getvalue(), "image/jpeg")


def test_other_types_are_not_looked_at() -> None:
    check(b"anything", "application/octet-stream")
    check(b"", "video/mp4")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am text",
        b"\x89PNG\r\n\x1a\n",
        picture()[:40],
        b"<html></html>",
        bytes(1000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
)
@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg", "image/x-unknown"])
def test_bytes_that_are_no_image(content: bytes, mime_type: str) -> None:
    with pytest.raises(errors.ValidationFailed, match="not a readable image"):
        check(content, mime_type)


def test_a_failing_disk_is_not_blamed_on_the_image() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        check_image(Failing(picture()), "image/png")


def test_a_damaged_image() -> None:
    damaged = bytearray(picture())
    damaged[len(damaged) // 2] ^= 0xFF
    with pytest.raises(errors.ValidationFailed, match="not a readable image"):
        check(bytes(damaged), "image/png")


def test_another_image_than_declared() -> None:
    with pytest.raises(errors.ValidationFailed, match=r"bytes are a PNG image\. Declare it as image/png"):
        check(picture("PNG"), "image/jpeg")


def test_a_decompression_bomb() -> None:
    """A PNG of a few hundred bytes that says it is 100,000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (100_000, int(MAX_PIXELS**0.5) + 1):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        with pytest.raises(errors.ValidationFailed, match="more than 178,956,970 pixels"):
            check(bomb + chunk(b"IEND", b""), "image/png")


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        ("<svg/>".encode("utf-16"), "image/svg+xml"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\xff\x0a....", "image/jxl"),
        (b"\x76\x2f\x31\x01....", "image/x-exr"),
    ],
)
def test_images_that_pillow_does_not_read(content: bytes, mime_type: str) -> None:
    check(content, mime_type)
    with pytest.raises(errors.ValidationFailed, match="not such an image"):
        check(b"something else", mime_type)


@pytest.mark.parametrize("mime_type", ["image/x-icon", "image/x-something-new"])
def test_no_icon_is_decoded_to_tell_that_it_is_one(monkeypatch: pytest.MonkeyPatch, mime_type: str) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded.append)
    with contextlib.suppress(errors.ValidationFailed):
        check(b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, 99, 22) + picture(), mime_type)
    assert not loaded


def test_an_icon_is_an_icon() -> None:
    check(picture("ICO"), "image/x-icon")
    with pytest.raises(errors.ValidationFailed):
        check(picture("PNG"), "image/x-icon")
