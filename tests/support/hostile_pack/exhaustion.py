"""Attacks that take all there is: processes, disk, memory, descriptors, the log. Each is bounded, so that a machine on
which nothing holds it lives on.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from .loot import Given, Loot, attack, engine_folders, opens_to_write

PROCESSES = 3000
"""So many are tried; an engine may have far fewer."""

_HOG = """
import sys, time
kept = bytearray(int(sys.argv[1]))
kept[::4096] = b"x" * len(kept[::4096])
print(1, flush=True)
time.sleep(40)
"""
_CHUNK = 2**24
_HELD_SECONDS = 30.0


@attack("fork-bomb", "children that make children, as many as there can be")
def fork_bomb(loot: Loot, given: Given) -> None:
    """Start programs until the kernel refuses, or until so many run that nothing seems to bound them."""
    started: list[int] = []
    try:
        while len(started) < PROCESSES:
            started.append(
                os.posix_spawn("/bin/sleep", ["sleep", "60", given["word"]], {}, setsid=len(started) % 2 == 0)
            )
    except OSError as error:
        loot.refused["processes"] = f"{len(started)}, then: {error}"
    else:
        loot.got["processes"] = f"{len(started)} and no end"
    for pid in started:
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except OSError:
            continue


@attack("fill-the-disk", "files without end in every folder that it can write to, each as long as it may be")
def fill_the_disk(loot: Loot, given: Given) -> None:
    """Take more than its limit in each kind of place, and keep it for as long as somebody may need to see that."""
    for name, folder in {**engine_folders(), "shm": "/dev/shm", "/tmp": "/tmp"}.items():
        paths = [Path(folder, f"full-{number}.bin") for number in range(4)]
        loot.attempt(name, _fill, paths, given["most_bytes"])
        for path in paths:
            path.unlink(missing_ok=True)


@attack("many-files", "empty files without number, to take what the disk keeps of each")
def many_files(loot: Loot, given: Given) -> None:
    """Make empty files until something says no, and keep them for as long as somebody may need to see that."""
    folder = Path(engine_folders()["temp"], "many")
    folder.mkdir(exist_ok=True)
    try:
        for number in range(given["most_files"]):
            os.close(os.open(f"{folder}/{number}", os.O_WRONLY | os.O_CREAT))
    except OSError as error:
        loot.refused["files"] = f"refused at last: {error}"
        return
    loot.attempt("files", _hold, f"{given['most_files']} files")


@attack("memory-hog", "more memory than its limit, in a child of a child and in files that are memory")
def memory_hog(loot: Loot, given: Given) -> None:
    """Take memory in a process that is not below the engine any more; it ends by itself after a while."""
    size = str(given["most_memory"])
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", _HOG, size, given["word"]], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    said = child.stdout.readline()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        loot.attempt("memory", str, said and f"{size} bytes in a child, for twenty seconds")
        child.kill()
        child.wait()
    else:
        loot.refused["memory"] = f"the child was ended: {child.returncode}"


@attack("descriptors", "all descriptors that the machine has")
def descriptors(loot: Loot, given: Given) -> None:
    """Raise its own limit, and the machine's."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    loot.attempt("more than the limit", resource.setrlimit, resource.RLIMIT_NOFILE, (most + 1, most + 1))
    loot.attempt("the machine's", opens_to_write, "/proc/sys/fs/file-max")


@attack("flood-the-log", "256 MiB of output into the log")
def flood_the_log(loot: Loot, given: Given) -> None:
    """Write to standard output as fast as it is taken. The test looks at what is kept."""
    line = b"x" * 1023 + b"\n"
    for _ in range(given["log_kilobytes"] // 64):
        os.write(1, line * 64)
    loot.refused["log"] = f"wrote {given['log_kilobytes']} KiB"


def _fill(paths: list[Path], most: int) -> str:
    done = 0
    refused: OSError | None = None
    for path in paths:
        with path.open("wb") as file:
            for at in range(0, most, _CHUNK):
                try:
                    os.posix_fallocate(file.fileno(), at, _CHUNK)
                except OSError as error:
                    refused = error
                    break
                done += _CHUNK
    if refused is not None and done < most:
        raise refused
    return _hold(f"{done} bytes")


def _hold(what: str) -> str:
    """Keep what was taken until somebody ends this process, or for so long that nobody seems to mind."""
    deadline = time.monotonic() + _HELD_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.1)
    return f"{what}, for {_HELD_SECONDS:.0f} seconds"
