"""One installation at a time per folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runflow.worker.runtime.report import Reporter


@contextmanager
def install_lock(path: Path, reporter: Reporter) -> Iterator[None]:
    """Hold an exclusive lock on a file, waiting for whoever has it. The kernel lets go of it when we die."""
    with path.open("a+b") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    file.seek(0)
                    holder = file.read().decode(errors="replace").strip() or "unknown"
                    reporter.note(f"Another installation (process {holder}) works in {path.parent.parent}; waiting.")
                    told = True
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        yield
