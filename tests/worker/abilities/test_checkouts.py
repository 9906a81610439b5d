"""Checkouts are read without git: what is not a commit or a public address is not told."""

import subprocess
from pathlib import Path

import pytest

from plugin.manifest.checkout import public_origin
from runflow.worker.abilities.checkouts import Checkout, read_checkout

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def made(folder: Path, head: str = COMMIT, config: str = "") -> Path:
    git = folder / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text(head + "\n")
    (git / "config").write_text(config)
    return git


def remote(url: str) -> str:
    return f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs\n[branch "main"]\n'


def test_what_git_made_is_read_as_git_says(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *who, "-C", tmp_path, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "one")
    git("remote", "add", "origin", "https://user:secret@example.com/a/pack.git")
    head = git("rev-parse", "HEAD")
    assert read_checkout(tmp_path) == Checkout("https://example.com/a/pack.git", head)
    git("pack-refs", "--all")
    assert read_checkout(tmp_path) == Checkout("https://example.com/a/pack.git", head)
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    assert read_checkout(tmp_path / "tree") == Checkout("https://example.com/a/pack.git", head)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("git@github.com:a/b.git", "ssh://git@github.com/a/b.git"),
        ("https://example.com/a?token=secret#x", "https://example.com/a"),
        ("/home/somebody/pack", None),
        ("file:///home/somebody/pack", None),
        ("https://" + "a" * 2000, None),
    ],
)
def test_an_address_is_told_without_secrets_and_folders(tmp_path: Path, url: str, told: str | None) -> None:
    made(tmp_path, config=remote(url))
    assert read_checkout(tmp_path) == Checkout(told, COMMIT)


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:a/b.git",
        "github.com:a/b.git",
        "someone@host.example:a b",
        "ssh://git@github.com/a/b",
        "ssh://git:secret@github.com:2222/a/b",
        "git+ssh://someone@host.example/a",
        "SSH://host.example/a",
        "ssh:///a/b",
        "https://user:secret@example.com:8443/a/b.git",
        "https://example.com/a?branch=x&token=secret",
        "https://example.com/a?branch=x",
        "HTTPS://Example.com/A",
        "git://example.com/a.git#x",
        "ftp://example.com/a",
        "https://[bad/a",
        "C:/packs/a",
        "../elsewhere",
    ],
)
def test_a_manifest_names_the_same_address(tmp_path: Path, url: str) -> None:
    """What a version asks for and what a worker has are compared."""
    made(tmp_path, config=remote(url))
    assert read_checkout(tmp_path) == Checkout(public_origin(url), COMMIT)


@pytest.mark.parametrize("head", ["", "ref: refs/heads/gone", "ref: ../../etc/passwd", "ref: /etc/passwd", "abc"])
def test_what_is_no_commit_is_none(tmp_path: Path, head: str) -> None:
    made(tmp_path, head)
    assert read_checkout(tmp_path) == Checkout(None, None)


def test_a_folder_without_git_is_no_checkout(tmp_path: Path) -> None:
    made(tmp_path / "parent")
    (tmp_path / "parent/pack").mkdir()
    assert read_checkout(tmp_path / "parent/pack") is None
