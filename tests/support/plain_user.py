"""A plain user of this machine, for tests that root runs: its name, and a way for it to the Python of this suite."""

import pwd
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.source import ROOT

_STAGE = "/mnt"
_OTHERS_MAY_ENTER = 0o001


def plain_uid() -> int:
    """Return a user of this machine who has a name, which PostgreSQL asks for, and as a rule no process."""
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("games", names["nobody"])


def as_user(uid: int, command: list[str]) -> list[str]:
    """Return the command of root that runs another one as that user, in the same process.

    Python, its environment or this repository may lie in somebody's home, where nobody else may go. There the process
    gets mounts of its own, in which that home holds nothing but these folders.
    """
    switch = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    needed = tuple(Path(folder).resolve() for folder in (sys.base_prefix, sys.prefix, ROOT))
    ways = _closed_ways(needed)
    if not ways:
        return [*switch, *command]
    lines = ["set -eu"]
    for closed, paths in ways.items():
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {_STAGE}")
        for path in paths:
            place = shlex.quote(f"{_STAGE}/{path.relative_to(closed)}")
            lines += [f"mkdir -p {place}", f"mount --rbind {shlex.quote(str(path))} {place}"]
        lines.append(f"mount --move {_STAGE} {shlex.quote(str(closed))}")
    lines.append('exec "$@"')
    script = "\n".join(lines)
    return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sh", *switch, *command]


@cache
def may_become(uid: int) -> str | None:
    """Return why no Python of this suite can be run as that user, None where it can."""
    done = subprocess.run(as_user(uid, [sys.executable, "-c", ""]), cwd="/", capture_output=True, check=False)
    return None if done.returncode == 0 else done.stderr.decode(errors="replace")[-500:]


def _closed_ways(needed: tuple[Path, ...]) -> dict[Path, list[Path]]:
    """Return the topmost folders on the way that others may not enter, each with what is needed below it."""
    found: dict[Path, list[Path]] = {}
    for path in needed:
        ways = [*reversed(path.parents), path]
        closed = next((way for way in ways if not way.stat().st_mode & _OTHERS_MAY_ENTER), None)
        if closed is not None and path not in found.setdefault(closed, []):
            found[closed].append(path)
    return found
