"""A worker's process around the folder of runtimes: `python -m … FOLDER DIE_AT DEATHS FINGERPRINTS`.

It kills itself at the asked step of what it does with files, or in the first `DEATHS` builds, whoever's these are.
"""

import asyncio
import fcntl
import os
import signal
import sys
from functools import partial
from pathlib import Path

from runflow.worker.runtime.build.folder import Runtime, RuntimeMissing, Runtimes

STEPS = {"open", "fcntl.flock", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.scandir"}
FILES = ("comfyui/main.py", "comfyui/custom_nodes/pack/__init__.py", "lock.txt", "build.log")
CONTENT = "content" * 1000
EVICTED = 3
"""How it ends when another process has evicted a runtime between its build and its use."""


class Steps:
    """Counts what this process does with files, and dies at one of these steps."""

    def __init__(self, die_at: int) -> None:
        self.count = 0
        self._die_at = die_at

    def seen(self, event: str, _: object) -> None:
        """Take note of an event of Python's audit."""
        if event in STEPS:
            self.count += 1
            if self.count == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


def add_one(path: Path) -> int:
    """Add one to a counter and return what it was."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.seek(0, os.SEEK_END)
        file.write(b"x")
        return before


async def make(marks: Path, deaths: int, part: Path) -> None:
    """Build something, and see that nobody else does at the same time."""
    with (marks / part.name).open("ab") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (marks / "twice").touch()
        assert not any(part.iterdir())
        dies = add_one(marks / "begun") < deaths
        for name in FILES:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_text(CONTENT)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(0)
        add_one(marks / "made")


def is_whole(runtime: Runtime) -> bool:
    """Tell whether everything is there that a build makes."""
    record = runtime.record()
    return record["fingerprint"] == runtime.fingerprint and all(
        (runtime.folder / name).read_text() == CONTENT for name in FILES
    )


async def work(folder: Path, deaths: int, fingerprints: list[str]) -> None:
    """Build, use and evict."""
    runtimes = Runtimes(folder / "runtimes", most_bytes=1)
    marks = folder / "marks"
    for fingerprint in fingerprints:
        await runtimes.build(fingerprint, partial(make, marks, deaths))
        with runtimes.use(fingerprint) as runtime:
            assert is_whole(runtime)
            if fingerprint == fingerprints[0]:
                runtimes.evict()
                assert is_whole(runtime)
    if len(fingerprints) > 1:
        runtimes.evict()


if __name__ == "__main__":
    steps = Steps(int(sys.argv[2]))
    sys.addaudithook(steps.seen)
    try:
        asyncio.run(work(Path(sys.argv[1]), int(sys.argv[3]), sys.argv[4:]))
    except RuntimeMissing:
        sys.exit(EVICTED)
    print(steps.count)
