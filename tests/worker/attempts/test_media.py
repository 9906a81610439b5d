import io
from pathlib import Path

import pytest
from PIL import Image

from runflow.worker.attempts.media import NotAnImage, content_type, image_size, suffix_for, verify_image


def picture(kind: str = "PNG", size: tuple[int, int] = (7, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "media_type", "suffix"),
    [
        ("PNG", "image/png", ".png"),
        ("JPEG", "image/jpeg", ".jpg"),
        ("WEBP", "image/webp", ".webp"),
        ("GIF", "image/gif", ".gif"),
    ],
)
def test_pictures_are_known_by_their_bytes(kind: str, media_type: str, suffix: str) -> None:
    content = picture(kind)
    assert content_type("wrong.bin", content) == media_type
    assert suffix_for(content) == suffix
    assert image_size(media_type, content) == (7, 5)
    verify_image(io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("clip.mp4", b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        ("clip.webm", b"\x1a\x45\xdf\xa3", "video/webm"),
        ("clip.mkv", b"\x1a\x45\xdf\xa3", "video/x-matroska"),
        ("sound.opus", b"OggS", "audio/ogg"),
        ("sound.flac", b"fLaC", "audio/flac"),
        ("sound", b"RIFF\x00\x00\x00\x00WAVE", "audio/wav"),
        ("mesh.glb", b"glTF", "model/gltf-binary"),
        ("model.safetensors", b"", "application/octet-stream"),
        ("archive.zip", b"PK\x03\x04", "application/zip"),
        ("notes.txt", b"hello", "text/plain"),
        ("unknown.zzz", b"hello", "application/octet-stream"),
    ],
)
def test_other_files_are_known_by_their_suffix_first(name: str, head: bytes, expected: str) -> None:
    assert content_type(name, head) == expected
    assert image_size(expected, head) is None


def test_the_size_is_found_where_the_head_does_not_reach(tmp_path: Path) -> None:
    content = picture("JPEG")
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    assert image_size("image/jpeg", content[:30], lambda: path.open("rb")) == (7, 5)
    assert image_size("image/jpeg", content[:30]) is None


@pytest.mark.parametrize("content", [b"", b"not a picture", b"<html>404</html>", picture()[:40]])
def test_what_is_no_picture_is_refused_without_naming_a_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(NotAnImage) as refusal:
        verify_image(path)
    assert str(tmp_path) not in str(refusal.value)


def test_a_picture_with_a_broken_chunk_is_refused() -> None:
    content = bytearray(picture(size=(64, 64)))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(NotAnImage):
        verify_image(io.BytesIO(bytes(content)))
