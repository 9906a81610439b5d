"""No path, traceback, dump or credential of the engine's machine reaches a caller."""

import pytest

from runflow.worker.engine.folders import clean

BASE = "/srv/run flow/engine"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("plain words", "plain words"),
        (
            "cannot identify image file '/srv/run flow/engine/input/a/b.png'\n",
            "cannot identify image file 'input/a/b.png'",
        ),
        (
            "[Errno 2] No such file or directory: '/home/ann/models/x.ckpt'",
            "[Errno 2] No such file or directory: 'x.ckpt'",
        ),
        (r"could not open C:\Users\ann\ComfyUI\input\x.png", "could not open x.png"),
        ("see ~/secret/file.txt for more", "see file.txt for more"),
        ("got <PIL.Image.Image image mode=RGB at 0x7F00DEADBEEF>", "got <PIL.Image.Image>"),
        ("bad value tensor([[1., 2.],\n [3., 4.]])", "bad value tensor(…)"),
        ("failed\nTraceback (most recent call last):\n  File x", "failed"),
        ("GET https://ann:pw@host/x failed", "GET https://host/x failed"),
        ("**** ERROR: outside.\n full: /a/b\n", "ERROR: outside. full: b"),
        ("one\ntwo\nthree\nfour", "one two three"),
        ("ratio 1/2 and a/b stay", "ratio 1/2 and a/b stay"),
        ("", ""),
    ],
)
def test_what_is_left(said: str, left: str) -> None:
    assert clean(said, (BASE,)) == left


def test_a_long_text_is_cut() -> None:
    assert len(clean("word " * 500)) == 400


def test_a_text_that_only_looks_like_paths_takes_no_time() -> None:
    assert len(clean("/a" * 200_000)) <= 400
