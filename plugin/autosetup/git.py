"""git, as a tool for files of strangers: https only, one host at an address that was judged, nothing of theirs is run.

Hooks, filters, submodules, LFS, links in the tree, credential helpers, prompts, the person's own configuration and
redirects are off.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from .commands import CommandFailed, run
from .sources import Source

_SECONDS = 15 * 60
_ASK_SECONDS = 20
_MAX_BYTES = 2 << 30
_RECEIVING = re.compile(r"Receiving objects:\s+(\d+)%")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PINS = (2, 37)
_KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE")


def usable() -> bool:
    """Whether there is a git that can be held to one address of a host (2.37 and newer)."""
    if shutil.which("git") is None:
        return False
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(r"(\d+)\.(\d+)", done.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= _PINS


def clone(
    source: Source,
    addresses: Sequence[str],
    commit: str,
    folder: Path,
    cancelled: threading.Event,
    progress: Callable[[str, int, int], None],
) -> None:
    """Make `folder` a checkout of one commit: depth 1, and all of the history where the host allows no less. Blocks.

    Raises:
        CommandFailed: git failed, the commit is not there, or the repository is too large.
        Cancelled: `cancelled` was set.
    """
    assert _COMMIT.fullmatch(commit), commit

    def received(line: str) -> None:
        if found := _RECEIVING.search(line):
            progress("Cloning", int(found[1]), 100)

    def git(what: str, *arguments: str) -> str:
        command = ["git", *_settings(source, addresses), *arguments]
        output = run(
            command,
            what=what,
            environment=_environment(source, folder.parent),
            cancelled=cancelled,
            seconds=_SECONDS,
            check=lambda: _check_size(folder),
            on_line=received,
        )
        _check_size(folder)
        return output

    at = ("-C", str(folder))
    progress("Cloning", 0, 0)
    shallow = ("--depth=1", "--no-checkout", "--no-tags", "--no-recurse-submodules", "--template=", "--progress")
    git("git clone", "clone", *shallow, "--", source.url, str(folder))
    if _head(git, at) != commit:
        try:
            git("git fetch", *at, "fetch", "--depth=1", "--no-tags", "--progress", "origin", commit)
        except CommandFailed:
            progress("Cloning all of it, because the host gives out no single commit", 0, 0)
            everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
            git("git fetch", *at, "fetch", "--unshallow", "--progress", "origin", *everything)
    try:
        git("git cat-file", *at, "cat-file", "-e", f"{commit}^{{commit}}")
    except CommandFailed as error:
        raise CommandFailed("Cloning", f"failed: the repository has no commit {commit}") from error
    progress("Checking out", 0, 0)
    git("git checkout", *at, "checkout", "--quiet", "--force", "--detach", commit)
    if _head(git, at) != commit:
        raise CommandFailed("git checkout", f"made something else than {commit}")


def _head(git: Callable[..., str], at: Sequence[str]) -> str:
    try:
        output = git("git rev-parse", *at, "rev-parse", "--verify", "HEAD")
    except CommandFailed:
        return ""  # an empty default branch
    # git may warn of something beside its answer.
    return next((line for line in output.splitlines() if _COMMIT.fullmatch(line)), "")


def newest(source: Source, cancelled: threading.Event) -> str:
    """The newest commit of a repository of this machine. Blocks. Raises CommandFailed, Cancelled."""
    command = ["git", *_settings(source, ()), "ls-remote", "--", source.url, "HEAD"]
    environment = _environment(source, Path.cwd())
    output = run(command, what="git ls-remote", environment=environment, cancelled=cancelled, seconds=_ASK_SECONDS)
    found = re.search(r"^([0-9a-f]{40,64})\s+HEAD$", output, re.MULTILINE)
    if not found:
        raise CommandFailed("git ls-remote", "finds no commit there")
    return found[1]


def _settings(source: Source, addresses: Sequence[str]) -> list[str]:
    nothing = os.devnull
    settings = {
        "protocol.allow": "never",
        f"protocol.{source.scheme}.allow": "always",
        "http.followRedirects": "false",
        "http.proxy": "",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "60",
        "credential.helper": "",
        "core.hooksPath": nothing,
        "core.fsmonitor": "false",
        "core.symlinks": "false",
        "core.protectNTFS": "true",
        "core.protectHFS": "true",
        "core.longpaths": "true",
        "core.attributesFile": nothing,
        "submodule.recurse": "false",
        "fetch.recurseSubmodules": "false",
        "filter.lfs.smudge": "",
        "filter.lfs.process": "",
        "filter.lfs.required": "false",
        "transfer.bundleURI": "false",
        "gc.auto": "0",
        "maintenance.auto": "false",
        "safe.directory": "*",
        "advice.detachedHead": "false",
    }
    if addresses:
        listed = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
        settings["http.curloptResolve"] = f"{source.host}:{source.port}:{listed}"
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _environment(source: Source, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.upper() in _KEPT}
    return {
        **kept,
        "HOME": str(home),
        "GIT_ALLOW_PROTOCOL": source.scheme,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GCM_INTERACTIVE": "never",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }


def _check_size(folder: Path) -> None:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 (many files, often)
    if total > _MAX_BYTES:
        raise CommandFailed("git", f"brings more than {_MAX_BYTES >> 30} GiB, too much for a custom node")
