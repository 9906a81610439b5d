"""The files that belong to a version: kept by hash, placed for one run, and found by the prompt where they lie."""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from runflow.graph import InputSpec, Interface, Prompt
from runflow.worker.attempts.lease import RemoteFile
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.fetch.download import INLINE_BYTES, download, on_disk, size_of

_HASH = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".part"
_ABANDONED_SECONDS = 6 * 3600.0
_ANNOTATION = re.compile(r"\s*\[input\]\s*$")


class ResourceCache:
    """Files by SHA-256 in one folder of the worker, the least recently used given up beyond `limit_bytes`."""

    def __init__(self, folder: Path, *, limit_bytes: int = 20 * 1024**3) -> None:
        self._folder = folder
        self._limit = limit_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)

    async def place(self, connection: Connection, file: RemoteFile, destination: Path, *, patience: float) -> None:
        """Put a copy of `file` at `destination`, from here or from the server; the copy is checked by SHA-256.

        A copy, never a link: a node that writes to its input must not change what other runs get.
        Raises `DownloadFailed`, and OSError where it cannot be stored.
        """
        if file.sha256 is not None and _HASH.fullmatch(file.sha256):
            kept = self._folder / file.sha256
            if await _copy(kept, destination, file.sha256):
                return
        fresh = self._folder / f"{uuid.uuid4().hex}{_UNFINISHED}"
        found = await download(connection, file, fresh, patience=patience)
        kept = self._folder / found
        fresh.replace(kept)
        if not await _copy(kept, destination, found):
            raise OSError(f"The resource {file.filename!r} changed on the worker's disk while it was placed.")
        if file.size_bytes > INLINE_BYTES:
            await asyncio.to_thread(self.prune)

    def prune(self) -> None:
        """Delete what was used longest ago until the rest fits, and what a killed worker left half-written."""
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                state = path.stat()
                if path.suffix == _UNFINISHED and state.st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()
                else:
                    found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size


async def _copy(kept: Path, destination: Path, sha256: str) -> bool:
    """Copy a kept file if it is there and has this hash; a kept file without it is thrown away."""
    try:
        size = size_of(kept)
    except FileNotFoundError:
        return False
    return await on_disk(size, partial(_copy_now, kept, destination, sha256))


def _copy_now(kept: Path, destination: Path, sha256: str) -> bool:
    shutil.copyfile(kept, destination)
    with destination.open("rb") as copy:
        found = hashlib.file_digest(copy, "sha256").hexdigest()
    if found == sha256:
        os.utime(kept)
        return True
    kept.unlink(missing_ok=True)
    destination.unlink(missing_ok=True)
    return False


def use_placed(
    prompt: Prompt, interface: Interface, values: Mapping[str, Any], placed: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], Interface, dict[str, Any]]:
    """Return prompt, interface and values that name each resource where it was placed for the run.

    `placed` maps a resource's path to its place; both are relative to ComfyUI's input folder. Changed are exactly: the
    text inputs of nodes that equal a path, the defaults of image and file inputs that do, and the caller's or default
    text for a field that holds such a path in the prompt (it chooses among the resources). Any other text of the caller
    stays, even where it happens to equal a path. What was given is not changed.
    """

    def moved(value: object) -> str | None:
        if not isinstance(value, str):
            return None
        return placed.get(_ANNOTATION.sub("", value).replace("\\", "/"))

    rewritten: dict[str, dict[str, Any]] = {}
    for node_id, node in prompt.items():
        changes = {field: place for field, value in node["inputs"].items() if (place := moved(value)) is not None}
        rewritten[node_id] = {**node, "inputs": {**node["inputs"], **changes}} if changes else dict(node)

    def chooses_resource(spec: InputSpec) -> bool:
        node = prompt.get(spec.comfyui_node_id)
        return node is not None and moved(node["inputs"].get(spec.comfyui_field_name)) is not None

    inputs: list[InputSpec] = []
    new_values = dict(values)
    for spec in interface.inputs:
        if spec.variable_type_code.is_media or chooses_resource(spec):
            default = moved(spec.default_value)
            spec = replace(spec, default_value=default) if default is not None else spec
            chosen = moved(values.get(spec.name))
            if chosen is not None:
                new_values[spec.name] = chosen
        inputs.append(spec)
    return rewritten, replace(interface, inputs=tuple(inputs)), new_values
