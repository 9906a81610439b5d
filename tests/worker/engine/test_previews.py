"""Binary messages of ComfyUI's websocket, as it packs them, and whatever else may come."""

import struct

import orjson
from hypothesis import given
from hypothesis import strategies as st

from runflow.worker.engine.previews import MAX_PREVIEW_BYTES, Preview, read_preview


def with_metadata(content: bytes, **told: object) -> bytes:
    metadata = orjson.dumps(told)
    return struct.pack(">II", 4, len(metadata)) + metadata + content


def test_a_picture_with_its_node() -> None:
    message = with_metadata(b"jpeg", image_type="image/jpeg", prompt_id="p", node_id="3", display_node_id="12")
    assert read_preview(message) == Preview(b"jpeg", "image/jpeg", "p", "12")
    assert read_preview(with_metadata(b"png", image_type="image/png", prompt_id="p", node_id="3")) == Preview(
        b"png", "image/png", "p", "3"
    )


def test_a_picture_of_an_older_version() -> None:
    assert read_preview(struct.pack(">II", 1, 1) + b"jpeg") == Preview(b"jpeg", "image/jpeg")
    assert read_preview(struct.pack(">II", 1, 2) + b"png") == Preview(b"png", "image/png")


def test_what_is_no_picture_is_passed_over() -> None:
    for message in (
        b"",
        b"\0\0\0\1",
        struct.pack(">II", 1, 9) + b"x",
        struct.pack(">II", 3, 1) + b"text",
        struct.pack(">II", 4, 10_000) + b"{}",
        struct.pack(">II", 4, 2) + b"[]x",
        struct.pack(">II", 4, 2) + b"{}",
        with_metadata(b"<svg>", image_type="image/svg+xml"),
        with_metadata(b"x" * (MAX_PREVIEW_BYTES + 1), image_type="image/png"),
    ):
        assert read_preview(message) is None, message[:20]


@given(st.binary(max_size=200))
def test_nothing_that_comes_in_is_an_error(message: bytes) -> None:
    found = read_preview(message)
    assert found is None or found.content
