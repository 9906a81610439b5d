"""From what PostgreSQL said to what the operator should do next."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from runflow.embedded_postgres.errors import ANOTHER_DATABASE

_FULL_BYTES = 1024 * 1024

# The first phrase that occurs decides; PostgreSQL's messages are in English (lc_messages, LC_ALL).
_NEXT_STEPS = (
    ("No space left on device", "Free space on the disk of {data} and start again"),
    ("Disk quota exceeded", "Raise the quota or free space for {data} and start again"),
    ("has invalid permissions", "Somebody changed the mode of the data folder; set it back: chmod 0700 {data}"),
    ("has wrong ownership", "Give the data folder and everything in it back to the user that it was made by"),
    ("Read-only file system", "Make the file system of {data} writable and start again"),
    ("Permission denied", "Give {data} and everything in it back to its owner and start again"),
    (
        "Operation not permitted",
        "Allow CHOWN, SETUID and SETGID to this root (they are off in some containers), or start as a plain user",
    ),
    ("could not map anonymous shared memory", "Free memory (about 150 MB are needed) and start again"),
    (
        "could not create shared memory segment",
        "Raise the system's shared memory limits (kernel.shmmax, kernel.shmmni)",
    ),
    ("user does not exist", "Give the user id of this process a name (a line in /etc/passwd) and start again"),
    ("checkpoint record", "The write-ahead log is damaged; put {data} back from a backup"),
    ("could not open file", "Files of the data folder are missing; put {data} back from a backup"),
    ("configuration file", "Correct {data}/postgresql.conf (or remove {data}/postgresql.auto.conf) and start again"),
)


def explain(lines: Sequence[str], data: Path, after: str) -> str:
    """Return what a program said, the next step, and `after`, as the end of an error message."""
    cause = f" It said: {' / '.join(lines)}." if lines else ""
    return f"{cause} {next_step(' '.join(lines), data)} {after}"


def next_step(said: str, data: Path) -> str:
    """Return the next step for one of PostgreSQL's or the system's messages, as a sentence."""
    if _is_full(data):
        said = _NEXT_STEPS[0][0]
    for phrase, step in _NEXT_STEPS:
        if phrase in said:
            return f"{step.format(data=data)}."
    return f"Correct that and start again; or put {data} back from a backup, {ANOTHER_DATABASE}."


def _is_full(data: Path) -> bool:
    for folder in (data, *data.parents):
        try:
            return shutil.disk_usage(folder).free < _FULL_BYTES
        except OSError:
            continue
    return False
