"""Fetching what a run delivered."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from runflow.client.effects import Pause, Plan, Request, computed, saved
from runflow.client.errors import DownloadFailed, PermissionDenied, RunflowError
from runflow.client.exchange import Patience, Session, checked
from runflow.client.records import OutputFile, Run
from runflow.client.runs import id_of, read

FETCH_SECONDS = 300.0
"""How long storage may take for each part of a file."""


def download(session: Session, output: Mapping[str, Any], path: Path) -> Plan[Path]:
    """Save one output file to `path` and return it; an existing file is replaced, when the new one is whole."""
    patience = Patience(session)
    # Followed as it is, without the key: the URL is the permission, and may lead to a bucket.
    request = Request("GET", output["url"], {}, timeout=FETCH_SECONDS)
    while True:
        try:
            answer, digest = yield from saved(request, path, output.get("sha256"))
            checked(session, answer)
        except RunflowError as error:
            yield Pause(patience.pause(error))
            continue
        if output.get("sha256") not in (None, digest):
            raise DownloadFailed(f"{path.name} did not arrive as it was made (SHA-256). Download it again.")
        return path


def save_outputs(session: Session, given: "str | Mapping[str, Any]", folder: Path) -> Plan[list[Path]]:
    """Save every output file of a run into a folder, under free names, and return the paths in the outputs' order."""
    run = Run(given) if isinstance(given, Mapping) and "output" in given else (yield from read(session, id_of(given)))
    yield from computed(lambda: folder.mkdir(parents=True, exist_ok=True))
    paths: list[Path] = []
    outputs = run.outputs
    for index in range(len(outputs)):
        path = yield from computed(partial(_free, folder, outputs[index]))
        try:
            paths.append((yield from download(session, outputs[index], path)))
        except PermissionDenied:
            # The URL's time is over. The record has fresh ones whenever it is read.
            outputs = (yield from read(session, run.id)).outputs
            paths.append((yield from download(session, outputs[index], path)))
    return paths


def _free(folder: Path, output: OutputFile) -> Path:
    """Return a path that no file has. The name is the server's word, so only its last part counts."""
    name = PureWindowsPath(PurePosixPath(output.filename).name).name.replace("\0", "")
    path = folder / (name if name not in ("", ".", "..") else "output")
    number = 1
    while path.exists():
        path = folder / f"{Path(name).stem or 'output'}-{number}{Path(name).suffix}"
        number += 1
    return path
