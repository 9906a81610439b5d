"""The gate: files that are no picture, and pictures that show nothing."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runflow.evaluations.judges import Subject
from runflow.evaluations.judges.broken import BrokenOutput
from runflow.evaluations.judges.picture import MAX_PIXELS, PictureFault, open_picture
from tests.support import picture_corpus
from tests.support.picture_corpus import png


def judged(tmp_path: Path, content: bytes) -> str | None:
    """The subcategory of what is wrong; None where nothing is."""
    path = tmp_path / "image"
    path.write_bytes(content)
    verdict = BrokenOutput().judge(Subject(path))
    assert verdict.passed == (not verdict.issues)
    return verdict.issues[0].subcategory if verdict.issues else None


def jpeg(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "JPEG", quality=70)
    return held.getvalue()


PHOTO = picture_corpus.good("photograph", 0, 256, 192)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b"<html>Not found</html>", "unreadable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "unreadable"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "unreadable"),
        (png(PHOTO)[: len(png(PHOTO)) // 2], "truncated"),
        (jpeg(PHOTO)[: len(jpeg(PHOTO)) // 2], "truncated"),
        (png(Image.new("RGB", (64, 64))), "black"),
        (jpeg(Image.new("RGB", (64, 64), (1, 1, 1))), "black"),
        (png(Image.new("RGB", (64, 64), (200, 40, 40))), "uniform"),
        (jpeg(Image.new("RGB", (64, 64), (120, 130, 140))), "uniform"),
        (png(Image.new("RGBA", (64, 64), (200, 40, 40, 0))), "transparent"),
        (png(Image.new("1", (1, 1), 1)), "uniform"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    assert judged(tmp_path, content) == fault


def test_the_black_of_overflowed_numbers_is_black(tmp_path: Path) -> None:
    """What ComfyUI's own saving makes of NaN: clipped, cast to bytes."""
    with np.errstate(invalid="ignore"):
        levels = np.clip(np.full((64, 64, 3), np.nan) * 255.0, 0, 255).astype(np.uint8)
    assert judged(tmp_path, png(Image.fromarray(levels))) == "black"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16", "I", "F"])
def test_every_mode_of_a_good_picture_passes(tmp_path: Path, mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "F", "I") else "PNG"
    held = io.BytesIO()
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(PHOTO.convert("L"))
        levels: dict[str, np.ndarray] = {
            "I;16": grey.astype(np.uint16) * 257,
            "I": grey.astype(np.int32) * 257,
            "F": grey / np.float32(255),
        }
        Image.fromarray(levels[mode]).save(held, kind)
    else:
        PHOTO.convert(mode).save(held, kind)
    assert judged(tmp_path, held.getvalue()) is None


def test_only_what_can_be_seen_counts(tmp_path: Path) -> None:
    cut_out = PHOTO.convert("RGBA")
    mask = Image.new("L", PHOTO.size, 0)
    mask.paste(255, (60, 60, 120, 120))
    cut_out.putalpha(mask)
    assert judged(tmp_path, png(cut_out)) is None
    flat = Image.new("RGBA", PHOTO.size, (90, 90, 90, 255))
    flat.paste(PHOTO, (0, 0))
    flat.paste((90, 90, 90, 255), (60, 60, 120, 120))
    flat.putalpha(mask)
    assert judged(tmp_path, png(flat)) == "uniform"


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    path = tmp_path / "bomb"
    path.write_bytes(bomb)
    found = open_picture(path)
    assert isinstance(found, PictureFault) and found.subcategory == "too_large"
    assert MAX_PIXELS < 60_000 * 60_000
