"""Models that a version's organization has uploaded, placed where an owned engine looks for them.

Only where nothing is yet: whatever the operator put there stays. Formats that can hold code are the operator's decision
(RUNFLOW_WORKER_ALLOW_PICKLE).
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath

from runflow.protocol.abilities import PICKLES
from runflow.protocol.failures import FailureCode, Stage
from runflow.worker.connection import Connection
from runflow.worker.engine.base import EngineError
from runflow.worker.engine.boundary import NO_FOLDER, Folder
from runflow.worker.engine.folders import relative_path
from runflow.worker.failures import RunFailed, failed
from runflow.worker.lease import Resource
from runflow.worker.store.download import DownloadFailed
from runflow.worker.store.model_store import ModelStore
from runflow.worker.store.verified import VerifiedFiles

_PUT_IT = "Put the file into the worker's models folder, or run again when this is repaired."


class ModelPlacer:
    """Places what is missing. `allow_pickle`: formats that can hold code as well."""

    def __init__(self, store: ModelStore, *, allow_pickle: bool) -> None:
        self._store = store
        self._allow_pickle = allow_pickle

    async def fetch(
        self, connection: Connection, models: tuple[Resource, ...], shared: tuple[Path, ...], *, patience: float
    ) -> None:
        """Have each model in the store, unless a folder that every engine finds has its path: no engine waits for it.

        Raises `RunFailed`, MODEL_MISSING.
        """
        await self._each(models, lambda model: self._fetch(connection, model, shared, patience))

    async def place(
        self, connection: Connection, models: tuple[Resource, ...], folders: tuple[Path, ...], *, patience: float
    ) -> None:
        """Bring each model to its path below the first folder, unless one of the folders has that path already.

        Without folders, an attached engine's, nothing happens. Raises `RunFailed`, MODEL_MISSING.
        """
        if folders:
            await self._each(models, lambda model: self._place(connection, model, folders, patience))

    async def _each(self, models: tuple[Resource, ...], work: Callable[[Resource], Awaitable[object]]) -> None:
        for model in models:
            try:
                await work(model)
            except (EngineError, DownloadFailed, OSError) as error:
                reason = f"{error.strerror or 'The disk failed'}." if isinstance(error, OSError) else str(error)
                # Another worker may have it, or more room; a path that is refused here is refused everywhere.
                raise _missing(model, f"{reason} {_PUT_IT}", again=not isinstance(error, EngineError)) from error

    async def _place(self, connection: Connection, model: Resource, folders: tuple[Path, ...], patience: float) -> None:
        source = await self._fetch(connection, model, folders, patience)
        if source is not None:
            await asyncio.to_thread(self._link_or_copy, source, folders[0], model.path)

    def _link_or_copy(self, source: Path, models: Path, path: str) -> None:
        link_or_copy_file(source, models, relative_path(path), self._store.verified)

    async def _fetch(
        self, connection: Connection, model: Resource, folders: tuple[Path, ...], patience: float
    ) -> Path | None:
        """Return where the store has the model; None where one of the folders has it."""
        name = relative_path(model.path)
        if _is_there(name, folders):
            return None
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in PICKLES and not self._allow_pickle:
            raise _missing(
                model,
                f"Files of type {suffix} can hold code, and this worker takes none from uploads. Deploy a .safetensors "
                "file instead, put the file into the worker's models folder, or let the operator set "
                "RUNFLOW_WORKER_ALLOW_PICKLE.",
                lacking=True,
            )
        return await self._store.fetch(connection, model.file, patience=patience)


def _is_there(name: str, folders: tuple[Path, ...]) -> bool:
    return any(os.path.lexists(folder / name) for folder in folders)


def link_or_copy_file(source: Path, models: Path, name: str, verified: VerifiedFiles) -> None:
    """Let `name` below `models` be the same bytes, whole or not at all; a file that is there by then stays.

    Raises OSError, and EngineError where a link is on the way: an engine of the same user could have put it there.
    """
    models.mkdir(exist_ok=True)  # not what is above it: an engine that has ended takes its folders with it
    *above, last = name.split("/")
    try:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(Folder.at(models.resolve()))
            for part in above:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder.descriptor)
                folder = held.enter_context(folder.folder(part))
            _link_or_copy(source, folder, last, verified)
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise
        raise EngineError(f"The path {name!r} leads over a link in the engine's models folder.") from error


def _link_or_copy(source: Path, folder: Folder, name: str, verified: VerifiedFiles) -> None:
    try:
        with source.open("rb") as file, verified.names_change(file.fileno()):
            os.link(source, name, dst_dir_fd=folder.descriptor)
    except FileExistsError:
        return
    except OSError:
        # Another file system, or one without hard links.
        fresh = f".{uuid.uuid4().hex}.part"
        try:
            folder.copy_in(source, fresh, None, mode=0o644)
            if not folder.has(name):
                os.rename(fresh, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
        finally:
            folder.unlink(fresh)


def _missing(model: Resource, why: str, *, again: bool = False, lacking: bool = False) -> RunFailed:
    message = f'The model "{model.path}" of the workflow could not be placed on the worker. {why}'
    return failed(
        FailureCode.MODEL_MISSING,
        Stage.PREPARE,
        message,
        details={"model": model.path},
        retryable=again,
        lacking=lacking,
    )
