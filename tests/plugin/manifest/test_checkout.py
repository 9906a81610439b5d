from pathlib import Path

import pytest

from plugin.manifest.checkout import public_origin, read_checkout, without_credentials
from tests.support.catalogue import write
from tests.support.git_repository import git


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    git(folder, "init", "-q")
    write(folder / "a.py")
    git(folder, "add", "a.py")
    git(folder, "commit", "-q", "-m", "first")
    git(folder, "remote", "add", "upstream", "https://example.com/other.git")
    git(folder, "remote", "add", "origin", "https://me:ghp_token@example.com/me/node.git")
    return folder


def test_a_clone(clone: Path) -> None:
    found = read_checkout(clone)
    assert found is not None
    assert found.to_dict() == {
        "origin": "https://example.com/me/node.git",
        "commit": git(clone, "rev-parse", "HEAD"),
        "dirty": False,
    }
    write(clone / "untracked.txt")
    assert read_checkout(clone) == found
    write(clone / "a.py", "changed")
    changed = read_checkout(clone)
    assert changed is not None
    assert changed.dirty is True


def test_packed_detached_and_linked_checkouts(clone: Path, tmp_path: Path) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    git(clone, "pack-refs", "--all")
    git(clone, "worktree", "add", "-q", "-b", "side", str(tmp_path / "worktree"))
    git(clone, "worktree", "add", "-q", "--detach", str(tmp_path / "detached"))
    for folder in (clone, tmp_path / "worktree", tmp_path / "detached"):
        found = read_checkout(folder)
        assert found is not None
        assert (found.commit, found.origin) == (commit, "https://example.com/me/node.git")


def test_a_folder_inside_a_checkout_is_none(clone: Path) -> None:
    write(clone / "inner" / "b.py")
    assert read_checkout(clone / "inner") is None
    assert read_checkout(clone / "nowhere") is None


def test_without_a_commit_or_an_origin(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    found = read_checkout(tmp_path)
    assert found is not None
    assert (found.origin, found.commit) == (None, None)


def test_without_git_the_rest_is_still_read(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")
    found = read_checkout(clone)
    assert found is not None
    assert (found.commit, found.dirty) == (commit, None)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://github.com/a/b", "https://github.com/a/b"),
        ("https://user:secret@github.com/a/b.git", "https://github.com/a/b.git"),
        ("https://secret@github.com:8443/a/b", "https://github.com:8443/a/b"),
        ("https://host/a?access_token=s&x=1#t", "https://host/a?x=1"),
        ("git@github.com:a/b.git", "ssh://git@github.com/a/b.git"),
        ("ssh://git:pw@host:22/a/b", "ssh://git@host:22/a/b"),
        ("file:///srv/repos/a", None),
        ("/srv/repos/a", None),
        ("../a", None),
        (r"C:\repos\a", None),
        ("https://[bad", None),
    ],
)
def test_origins_as_others_may_know_them(url: str, public: str | None) -> None:
    assert public_origin(url) == public


def test_secret_query_parameters_go_and_others_stay_as_they_are() -> None:
    assert without_credentials("https://h/x?a=1%2F2&b=") == "https://h/x?a=1%2F2&b="
    assert without_credentials("https://h/x?X-Amz-Signature=z&token=t&a=1") == "https://h/x?a=1"
    assert without_credentials("ftp://h/x") is None
