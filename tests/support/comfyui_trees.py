"""Small trees with the outline of a ComfyUI, and git repositories of them; what they hold does not matter here."""

import subprocess
from pathlib import Path


def make_tree(folder: Path, version: str = "1.2.3", requirements: str = "") -> Path:
    (folder / "comfy").mkdir(parents=True, exist_ok=True)
    (folder / "comfy/__init__.py").write_text("")
    for name in ("main.py", "nodes.py"):
        (folder / name).write_text(f"# {version}\n")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    (folder / "requirements.txt").write_text(requirements)
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_repository(folder: Path, *versions: str, requirements: str = "") -> dict[str, str]:
    """A repository with one tagged commit per version and one untagged behind them; returns version → commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=master")
    commits = {}
    for version in versions:
        make_tree(folder, version, requirements)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "-m", version)
        git(folder, "tag", f"v{version}")
        commits[version] = git(folder, "rev-parse", "HEAD")
    return commits
