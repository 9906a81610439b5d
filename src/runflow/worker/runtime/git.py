"""The few things that we ask of git."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from runflow.worker.runtime.commands import CommandFailed, InstallError, SourceRefused, run, without_credentials
from runflow.worker.runtime.report import Reporter

_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GCM_INTERACTIVE": "never", "LC_ALL": "C"}
_SHA = re.compile(r"[0-9a-f]{40}")
_RECEIVING = re.compile(r"Receiving objects:\s+(\d+)%")
_ANSWER_SECONDS = 20.0


def is_repository(folder: Path) -> bool:
    """Return whether a folder is a git repository, with a work tree or bare."""
    return (folder / ".git").exists() or ((folder / "HEAD").is_file() and (folder / "objects").is_dir())


def unreachable(url: str) -> str | None:
    """Return why a repository cannot be read from here, or None when it can."""
    if shutil.which("git") is None:
        return "git is not installed"
    try:
        command = ["git", "ls-remote", "--quiet", "--", url, "HEAD"]
        run(command, what="git ls-remote", env=_QUIET, timeout=_ANSWER_SECONDS)
    except CommandFailed as error:
        return error.tail.splitlines()[-1] if error.tail else "it does not answer"
    return None


def checkout(url: str, tree: Path, *, version: str | None, commit: str | None, reporter: Reporter) -> str:
    """Check out a commit, a version's tag or the default branch into `tree`; return the commit's full id.

    Only that commit is fetched where the host allows it. Raises SourceRefused when it does not exist there.
    """

    def show(line: str) -> None:
        if found := _RECEIVING.search(line):
            reporter.progress("git", int(found.group(1)), 100)

    def git(*arguments: str) -> str:
        what = f"git {arguments[0]}"
        return run(["git", "-C", tree, *arguments], what=what, env=_QUIET, timeout=3600, on_line=show).strip()

    tree.mkdir(parents=True)
    git("init", "--quiet")
    git("remote", "add", "origin", url)
    revision = _fetch(git, version, commit, without_credentials(url))
    git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", revision)
    head = git("rev-parse", "HEAD")
    if commit and not head.startswith(commit.lower()):
        raise InstallError(f"git checked out {head} although {commit} was asked for.")
    return head


def _fetch(git: Callable[..., str], version: str | None, commit: str | None, shown: str) -> str:
    """Fetch what was asked for and return the revision to check out."""
    if commit is None and version is None:
        git("fetch", "--progress", "--depth=1", "origin", "HEAD")
        return "FETCH_HEAD"
    if commit is None:
        assert version is not None
        bare = version.removeprefix("v")
        for tag in (f"v{bare}", bare):
            try:
                git("fetch", "--progress", "--depth=1", "origin", f"refs/tags/{tag}")
            except CommandFailed:
                continue
            return "FETCH_HEAD"
        raise SourceRefused(f"{shown} has no tag v{bare}.")
    if _SHA.fullmatch(commit.lower()):
        try:
            git("fetch", "--progress", "--depth=1", "origin", commit.lower())
        except CommandFailed:
            pass  # hosts may refuse commits that no branch or tag points at; then everything is fetched
        else:
            return "FETCH_HEAD"
    git("fetch", "--progress", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
    try:
        return git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    except CommandFailed:
        raise SourceRefused(f"{shown} has no commit {commit}.") from None
