"""Compile the Python files of a folder, and let environments share what was compiled: it is larger than the sources.

A file of uv's cache has one inode in all environments that hold it, so what was compiled from it is kept under that
inode, its time and its size, and linked. Python itself compares time and size again whenever it imports.

Stands alone, and is run as a program: a file of strangers that ends the compiler ends nothing else.
"""

import contextlib
import ctypes
import importlib.util
import os
import py_compile
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

_AT_ONCE = 64
_PR_SET_PDEATHSIG = 1
_SKIPPED = {"__pycache__", ".git", "pip"}
"""What is not compiled: no engine imports pip, and it is most of a small environment."""
_PRIVATE = "-"
"""Instead of a folder: nothing is shared."""


def sources(folder: str) -> Iterator[str]:
    """Yield the Python files below a folder, but for those that links lead to."""
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        yield from (os.path.join(above, name) for name in files if name.endswith(".py"))


def compile_files(paths: list[str], shared: str) -> None:
    """Give each of these files its bytecode, linked from the folder `shared` where it is there already."""
    for path in paths:
        # A file that does not compile, or that is gone, is no fault of the others.
        with contextlib.suppress(OSError, ValueError, py_compile.PyCompileError, RecursionError, MemoryError):
            _compile(path, shared)


def _compile(path: str, shared: str) -> None:
    target = importlib.util.cache_from_source(path)
    if os.path.exists(target):
        return
    found = os.lstat(path)
    if shared == _PRIVATE or found.st_nlink < 2:
        py_compile.compile(path, cfile=target, doraise=True)
        return
    key = f"{found.st_dev:x}-{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}.{sys.implementation.cache_tag}"
    kept = os.path.join(shared, f"{found.st_ino % 256:02x}", key)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(kept, target)
    except OSError:
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        part = f"{kept}.{os.getpid()}"
        py_compile.compile(path, cfile=part, doraise=True)
        os.replace(part, kept)
        os.link(kept, target)


def _end_with_parent() -> None:
    """Have the kernel end this process of a pool with the one that started it: it would wait for work for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(folder: str, shared: str) -> int:
    """Compile all below a folder, on every core; what a broken file takes down is left to who imports it."""
    paths = list(sources(folder))
    portions = [paths[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE)]
    try:
        with ProcessPoolExecutor(initializer=_end_with_parent) as pool:
            list(pool.map(compile_files, portions, [shared] * len(portions)))
    except BrokenProcessPool:
        return 1
    return 0


def forget_unused(shared: Path) -> int:
    """Remove what no environment has any more; return how many bytes that gave back."""
    freed = 0
    for above, _, files in os.walk(shared):
        for name in files:
            path = os.path.join(above, name)
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                if found.st_nlink == 1:
                    os.unlink(path)
                    freed += found.st_size
    return freed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
