"""What an installation wrote down about itself: `runflow-install.json`."""

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import orjson

from runflow.worker.runtime.atomic import write_atomically

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
