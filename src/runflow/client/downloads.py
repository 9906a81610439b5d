"""Fetching what a run delivered."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from runflow.client.effects import Pause, Plan, Request, computed, saved
from runflow.client.errors import DownloadFailed, PermissionDenied, RunflowError
from runflow.client.exchange import Patience, Session, checked
from runflow.client.records import OutputFile, Run
from runflow.client.runs import id_of, read

FETCH_SECONDS = 300.0
"""How long storage may take for each part of a file."""


def download(session: Session, output: Mapping[str, Any], path: Path, *, replaces: bool = True) -> Plan[Path]:
    """Save one output file to `path` and return where it lies; an existing file is replaced, when the new one is whole.

    Without `replaces` it stays, and the new one gets a name that is free.
    """
    patience = Patience(session)
    # Followed as it is, without the key: the URL is the permission, and may lead to a bucket.
    request = Request("GET", output["url"], {}, timeout=FETCH_SECONDS)
    while True:
        try:
            answer, digest, place = yield from saved(request, path, output.get("sha256"), replaces=replaces)
            checked(session, answer)
        except RunflowError as error:
            yield Pause(patience.pause(error))
            continue
        if output.get("sha256") not in (None, digest):
            raise DownloadFailed(f"{path.name} did not arrive as it was made (SHA-256). Download it again.")
        return place


def save_outputs(session: Session, given: "str | Mapping[str, Any]", folder: Path) -> Plan[list[Path]]:
    """Save every output file of a run into a folder, under free names, and return the paths in the outputs' order."""
    run = Run(given) if isinstance(given, Mapping) and "output" in given else (yield from read(session, id_of(given)))
    yield from computed(lambda: folder.mkdir(parents=True, exist_ok=True))
    paths: list[Path] = []
    outputs = run.outputs
    for index in range(len(outputs)):
        path = folder / _name(outputs[index])
        try:
            paths.append((yield from download(session, outputs[index], path, replaces=False)))
        except PermissionDenied:
            # The URL's time is over. The record has fresh ones whenever it is read.
            outputs = (yield from read(session, run.id)).outputs
            paths.append((yield from download(session, outputs[index], path, replaces=False)))
    return paths


def _name(output: OutputFile) -> str:
    """Return the name of a file. It is the server's word, so only its last part counts."""
    name = PureWindowsPath(PurePosixPath(output.filename).name).name.replace("\0", "")
    return name if name not in ("", ".", "..") else "output"
