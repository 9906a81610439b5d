"""What is remembered of a build that failed: nobody waits twice for what cannot be built."""

import contextlib
import shutil
import time
from pathlib import Path

import orjson

from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.record import write_atomically

FAILED, LOG, WHEELS_LOG = "build.failed.json", "build.log", "wheels.log"


class SourceNotApproved(InstallError):
    """A source may not be fetched before the operator has approved it. `source`: its origin and commit.

    `packs`: who wants it.
    """

    def __init__(self, message: str, source: tuple[str, str], packs: tuple[str, ...] = ()) -> None:
        """Keep what has to be approved, and for whom."""
        super().__init__(message)
        self.source = source
        self.packs = packs


class RuntimeBuildFailed(InstallError):
    """A runtime could not be built. `is_permanent`: it would fail again, for the same reason.

    `code` is for programs, `step` is what was done, `pack` whose fault it is, `log_path` where all of it stands.
    `waits_for`: origin and commit of a source that has to be approved first.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        step: str,
        pack: str | None = None,
        is_permanent: bool = True,
        log_path: Path | None = None,
        waits_for: tuple[str, str] | None = None,
    ) -> None:
        """Say what failed, where, and the next step."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.step = step
        self.pack = pack
        self.is_permanent = is_permanent
        self.log_path = log_path
        self.waits_for = waits_for


def write_failure(folder: Path, failure: RuntimeBuildFailed, part: Path) -> None:
    """Remember a failure in a folder of its own, with the logs that lie in the folder of its build."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with contextlib.suppress(FileNotFoundError):
        (part / WHEELS_LOG).rename(folder / WHEELS_LOG)
    failure.message = failure.message.replace(str(part / WHEELS_LOG), str(folder / WHEELS_LOG))
    with contextlib.suppress(FileNotFoundError):
        (part / LOG).rename(folder / LOG)
        failure.log_path = folder / LOG
    record = {
        "code": failure.code,
        "step": failure.step,
        "pack": failure.pack,
        "message": failure.message,
        "log": str(failure.log_path) if failure.log_path else None,
        "permanent": failure.is_permanent,
        "at": time.time(),
    }
    write_atomically(folder / FAILED, orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")


def read_failure(folder: Path, within_seconds: float | None = None) -> RuntimeBuildFailed | None:
    """Return the failure that is remembered in a folder, None where there is none.

    `within_seconds`: only one that was for good, and no longer ago.
    """
    try:
        known = orjson.loads((folder / FAILED).read_bytes())
        failure = RuntimeBuildFailed(
            str(known["message"]),
            code=str(known["code"]),
            step=str(known["step"]),
            pack=known["pack"],
            is_permanent=bool(known["permanent"]),
            log_path=Path(known["log"]) if known["log"] else None,
        )
        ago = time.time() - float(known["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if within_seconds is not None and not (failure.is_permanent and 0 <= ago < within_seconds):
        return None
    return failure
