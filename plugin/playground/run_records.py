"""Records of runs on disk, a few per workflow: a restart of ComfyUI takes none of them away."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from ..comfyui import LOG
from ..private_file import write_private
from .captures import now
from .failures import failure

MAX_RECORDS = 30
"""At most this many runs of a workflow are kept; the oldest go first. Their files in output/ stay."""


class RunRecords:
    """The records of one workflow's runs, in its folder `runs`. Its methods block: they read and write files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "runs"

    def save(self, record: dict[str, Any]) -> None:
        """Keep a record in place of an older one of the same run."""
        if not self._folder.parent.is_dir():
            return  # the workflow was dropped for newer ones
        self._folder.mkdir(exist_ok=True, mode=0o700)
        try:
            write_private(self._place(record), json.dumps(record).encode())
        except OSError:
            LOG.warning("Runflow: the record of run %s could not be saved", record["id"], exc_info=True)
        for old in sorted(self._folder.glob("*.json"))[:-MAX_RECORDS]:
            with contextlib.suppress(OSError):
                old.unlink()

    def load(self) -> list[dict[str, Any]]:
        """Every record, oldest first. A run that had not ended is a failed one: its process is gone."""
        found = [self._read(place) for place in sorted(self._folder.glob("*.json"))]
        return [record for record in found if record is not None]

    def _read(self, place: Path) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(place.read_bytes())
            if not record["is_terminal"]:
                record = _interrupted(record)
                self.save(record)
            return record
        except (OSError, ValueError, KeyError, TypeError):
            LOG.warning("Runflow: %s cannot be read; it is left out", place, exc_info=True)
            return None

    def _place(self, record: dict[str, Any]) -> Path:
        # The number first: names sort in the order of the runs.
        return self._folder / f"{record['number']:08d}-{record['id']}.json"


def _interrupted(record: dict[str, Any]) -> dict[str, Any]:
    error = failure("ENGINE_CRASHED", "ComfyUI was stopped before this run ended.", "Run it again.")
    ended: dict[str, Any] = {"status_code": "failed", "is_terminal": True, "cancelling": False, "completed_at": now()}
    told = {"failure_code": error["code"], "failure_message": error["message"], "failure_stage_code": "execute"}
    return {**record, **ended, **told, "error": error, "waiting_reason": None, "progress": None, "preview_url": None}
