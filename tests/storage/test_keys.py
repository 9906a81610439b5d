import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.storage.keys import InvalidKey, segment, validate


@pytest.mark.parametrize(
    "key",
    [
        "runs/0197/0198/0-picture.png",
        "uploads/a/grüße 日本.png",
        "a",
        "a/b..c/d.",
        "x" * 255,
        "a/" + "é" * 127,
    ],
)
def test_keys_are_taken_as_they_are(key: str) -> None:
    assert validate(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "a/./b",
        ".incoming/x",
        "a/.hidden",
        "a//b",
        "a/",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "..\\x",
        "a\\..\\b",
        "C:\\x",
        "a/b#1",
        "a#12/b",
        "x" * 256,
        "a/" + "é" * 128,
        "/".join(["x" * 200] * 6),
        "a/\ud800",
    ],
)
def test_whatever_could_leave_the_folder_is_no_key(key: str) -> None:
    with pytest.raises(InvalidKey):
        validate(key)


@given(st.text())
def test_every_name_becomes_a_valid_segment(name: str) -> None:
    made = segment(name)
    assert validate(made) == made
    assert "/" not in made


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("photo.png", "photo.png"),
        ("my photo (1).png", "my photo (1).png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\cat.png", "cat.png"),
        ("..", "file"),
        ("", "file"),
        (".env", "env"),
        ("a?b#1.png", "a_b_1.png"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("日" * 100 + ".webp", "日" * 83 + ".webp"),
    ],
)
def test_a_segment_keeps_the_name_readable(name: str, made: str) -> None:
    assert segment(name) == made
