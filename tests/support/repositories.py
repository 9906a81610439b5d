"""Real git repositories with the content that a test names, good and hostile."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.comfyui_trees import git


def commit_files(folder: Path, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> str:
    """Commit files and symbolic links on top of what is there; return the commit."""
    if not folder.exists():
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    for path, target in (links or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "change")
    return git(folder, "rev-parse", "HEAD")


def add_module(folder: Path, path: str, url: str, commit: str, name: str | None = None) -> str:
    """Commit a submodule at a commit, without asking git whether it is a good one; return the new commit."""
    with (folder / ".gitmodules").open("a") as file:
        file.write(f'[submodule "{name or path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(folder, "add", ".gitmodules")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(folder, "commit", "--quiet", "-m", "submodule")
    return git(folder, "rev-parse", "HEAD")


def commit_tree(folder: Path, rows: list[tuple[str, str, str]]) -> str:
    """Commit a tree of rows (mode, object id, name) that git itself would not make; return the commit."""
    raw = b"".join(f"{mode.lstrip('0')} {name}".encode() + b"\0" + bytes.fromhex(one) for mode, one, name in rows)
    tree = write_object(folder, "tree", raw)
    commit = git(folder, "commit-tree", "-m", "made by hand", tree)
    git(folder, "update-ref", f"refs/heads/{commit[:8]}", commit)
    return commit


def write_object(folder: Path, kind: str, content: bytes) -> str:
    command = ["git", "-C", str(folder), "hash-object", "--literally", "-t", kind, "-w", "--stdin"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()
