"""What an installation writes down about itself, `runflow-install.json`: atomically, one installation at a time."""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import orjson

from runflow.worker.runtime.report import Reporter

RECORD_NAME = "runflow-install.json"
STATE_FOLDER = ".runflow"
"""Where an installation keeps its lock and its markers; a folder with it was made by us."""


@dataclass(frozen=True, slots=True)
class InstallRecord:
    """A finished installation. `source` is `git`, `package`, `archive` or `folder`; times are ISO 8601 UTC."""

    version: str
    source: str
    origin: str
    commit: str | None
    sha256: str | None
    python: str
    torch: str
    torchvision: str
    torchaudio: str
    torch_origin: str
    compatibility_module: bool
    full: bool
    installed_at: str

    def save(self, directory: Path) -> None:
        """Write the record into the ComfyUI folder, replacing an older one in one step."""
        write_atomically(directory / RECORD_NAME, orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")


def read_record(directory: Path) -> InstallRecord | None:
    """Return the record of a folder, or None where there is none that can be read."""
    try:
        values = orjson.loads((directory / RECORD_NAME).read_bytes())
        return InstallRecord(**{field.name: values[field.name] for field in fields(InstallRecord)})
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def now() -> str:
    """Return the present time as it stands in records."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def unfinished(directory: Path) -> bool:
    """Return whether an installation was begun in a folder and has not been finished."""
    return (directory / STATE_FOLDER).is_dir() and read_record(directory) is None


def is_usable(directory: Path) -> bool:
    """Return whether a folder holds a ComfyUI that an engine can be started from: somebody's own, or a finished one."""
    return (directory / "main.py").is_file() and not unfinished(directory)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content in one step."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
