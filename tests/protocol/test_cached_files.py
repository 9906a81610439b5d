"""The rule for names of cached files, which both sides hold to (more of it in tests/models/test_cached.py)."""

from dataclasses import replace

import pytest

from runflow.protocol.cached_files import LeasedCachedFile, fault_of, is_ref

HUB = LeasedCachedFile(
    cache="huggingface", path="a/b.json", sha256="a" * 64, repository="org/name", revision="c" * 40, refs=["main"]
)
TORCH = LeasedCachedFile(cache="torch", path="net.pth", sha256="a" * 64)


@pytest.mark.parametrize("path", ["config.json", "unet/model-00001-of-00002.safetensors", ".gitattributes", "ä b.txt"])
def test_ordinary_files_have_no_fault(path: str) -> None:
    assert fault_of(replace(HUB, path=path)) is None
    assert fault_of(replace(HUB, repository="gpt2")) is None
    assert fault_of(TORCH) is None


def test_a_checkpoint_lies_in_no_folder() -> None:
    assert "folder" in str(fault_of(replace(TORCH, path="a/net.pth")))


def test_branches() -> None:
    assert [
        is_ref(name) for name in ("main", "refs/pr/1", "v1.0", "-x", "a..b", "a//b", "", "a" * 97, "a/b/c/d/e")
    ] == [
        *(True, True, True),
        *(False,) * 6,
    ]
    assert "branch" in str(fault_of(replace(HUB, refs=["main"] * 17)))


def test_titles_say_where_a_file_belongs() -> None:
    assert (HUB.title, TORCH.title) == ("org/name/a/b.json", "torch/hub/checkpoints/net.pth")
