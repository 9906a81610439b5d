"""The models that a version declares, each by its content: found here or fetched, and given to the run's engine.

A model is what its SHA-256 says. The operator's own file counts where it has that content, at its path or at another
one; else it comes from the server, for what the version's organization has uploaded, or from the address that the
manifest names. Where no hash is named, the operator's file of that path counts, or whatever the address had first.
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from runflow.outgoing import GuardedClient
from runflow.protocol.abilities import PICKLES
from runflow.protocol.failures import FailureCode, Stage
from runflow.worker.connection import Connection
from runflow.worker.engine.base import EngineError
from runflow.worker.engine.boundary import NO_FOLDER, Folder
from runflow.worker.engine.folders import relative_path
from runflow.worker.failures import RunFailed, failed
from runflow.worker.lease import Model
from runflow.worker.store.addresses import Addresses, name_of
from runflow.worker.store.content import ContentStore, Held
from runflow.worker.store.credentials import Credentials
from runflow.worker.store.known_hashes import FileChanged
from runflow.worker.store.own_models import OwnModels
from runflow.worker.store.progress import Progress, Tell
from runflow.worker.store.ranges import Source, SourceFailed
from runflow.worker.store.read_ahead import read_ahead
from runflow.worker.store.sources import AddressSource, ServerSource


@dataclass(slots=True)
class RunModels:
    """The models of one run, which stay until they are released."""

    given: dict[str, Held] = field(default_factory=dict)
    """Those that its engine is to be given, by path."""
    there: dict[str, Path] = field(default_factory=dict)
    """Those that every engine here has, by path."""
    _reading: asyncio.Task[int] | None = None

    @property
    def contents(self) -> dict[str, str]:
        """The SHA-256 of what is given, by path."""
        return {path: held.sha256 for path, held in self.given.items()}

    @property
    def files(self) -> set[Path]:
        """Where they lie, links resolved."""
        return {path.resolve() for path in (*(held.path for held in self.given.values()), *self.there.values())}

    def read_ahead(self, files: Collection[Path]) -> None:
        """Have some of the files read before an engine does so, while others execute."""
        self._reading = asyncio.create_task(read_ahead(files), name="read ahead")

    async def release(self) -> None:
        """Need them no more."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        for held in self.given.values():
            held.release()
        self.given.clear()


class ModelFetcher:
    """Gets the models of runs, and gives them to engines. `allow_pickle`: formats that can hold code as well.

    `most_bytes` bounds what an address may send.
    """

    def __init__(
        self,
        store: ContentStore,
        own: OwnModels,
        outgoing: GuardedClient,
        *,
        credentials: Credentials,
        allow_pickle: bool,
        most_bytes: int,
    ) -> None:
        self._store = store
        self._own = own
        self._outgoing = outgoing
        self._credentials = credentials
        self._allow_pickle = allow_pickle
        self._most_bytes = most_bytes
        self._addresses = Addresses(store.folder / "addresses")
        self._latest: set[Path] = set()
        self._engines: dict[Path, dict[str, str]] = {}
        """What was given to the engines that live, by their folder of models and by path."""
        store.on_remove = self._give_up

    async def fetch(
        self, connection: Connection, models: Collection[Model], *, patience: float, tell: Tell = lambda _: None
    ) -> RunModels:
        """Have the models here. `tell` hears how it goes where it takes long. Raises `RunFailed`, MODEL_MISSING."""
        found = RunModels()
        try:
            own = await self._own.find({model.path for model in models})
            for model in models:
                await self._add(found, connection, model, own.get(model.path), patience, tell)
        except BaseException:
            await found.release()
            raise
        # What the run before has loaded needs no reading, and to see whether it is in memory takes a while, too.
        files, self._latest = self._latest, found.files
        if ahead := self._latest - files:
            found.read_ahead(ahead)
        return found

    async def _add(
        self,
        found: RunModels,
        connection: Connection,
        model: Model,
        there: Path | None,
        patience: float,
        tell: Tell,
    ) -> None:
        try:
            path = relative_path(model.path)
            if there is not None and (model.sha256 is None or await self._own.sha256(there) == model.sha256):
                found.there[path] = there
            elif path not in found.given:
                held = await self._content(connection, model, patience, tell)
                if held is not None:
                    found.given[path] = held
                elif model.sha256 is not None:
                    raise _missing(model, _nowhere(there), lacking=True)
        except (EngineError, SourceFailed, FileChanged, OSError) as error:
            is_fault = isinstance(error, EngineError)  # a path that is refused here is refused everywhere
            # The server signs another URL for the next attempt.
            again = error.retryable or model.is_upload if isinstance(error, SourceFailed) else not is_fault
            reason = f"{error.strerror or 'The disk failed'}." if isinstance(error, OSError) else str(error)
            raise _missing(model, f"{reason} {_NEXT}", again=again, lacking=not again and not is_fault) from error

    async def _content(self, connection: Connection, model: Model, patience: float, tell: Tell) -> Held | None:
        """Return the model from the store, brought there if need be; None where nobody says where it is."""
        suffix = PurePosixPath(model.path).suffix.lower()
        sha256 = model.sha256
        if sha256 is not None and (file := self._own.holding(sha256)) is not None:
            if _can_be_linked(file, self._store.folder):
                return Held(file, sha256)
            return await self._store.adopt(file, sha256)
        if model.url is None:
            return None if sha256 is None else await self._store.take(sha256, public=True)
        if suffix in PICKLES and not self._allow_pickle:
            raise _missing(
                model,
                f"Files of type {suffix} can hold code, and this worker fetches none. Deploy a .safetensors file "
                "instead, put the file into the worker's models folder, or let the operator set "
                "RUNFLOW_WORKER_ALLOW_PICKLE.",
                lacking=True,
            )
        if sha256 is None:
            sha256 = self._addresses.content_of(model.url)
        # Who only knows the hash of another's upload must not get it: an address has to have had it.
        if sha256 is not None and (held := await self._store.take(sha256, public=not model.is_upload)) is not None:
            return held
        return await self._fetch(connection, model, sha256, patience, tell)

    async def _fetch(
        self, connection: Connection, model: Model, sha256: str | None, patience: float, tell: Tell
    ) -> Held:
        assert model.url is not None
        source: Source
        if model.is_upload:
            source = ServerSource(connection, model.url)
        else:
            source = AddressSource(self._outgoing, model.url, self._credentials)
        kind = "upload" if model.is_upload else "address"
        held = await self._store.fetch(
            source,
            sha256=sha256,
            name=f"{kind}-{sha256 or name_of(model.url)}",
            size_bytes=model.size_bytes if model.is_upload else None,
            most_bytes=self._most_bytes,
            patience=patience,
            public=not model.is_upload,
            progress=Progress(model.path, tell),
        )
        if not model.is_upload and model.sha256 is None:
            await asyncio.to_thread(self._addresses.note, model.url, held.sha256)
        return held

    async def place(self, models: RunModels, folder: Path) -> None:
        """Bring what a run is given to its paths below the engine's folder of models. Raises `RunFailed`, OSError."""
        if not all(self._is_placed(folder, path, held) for path, held in models.given.items()):
            await asyncio.to_thread(self._place, models, folder)

    def _is_placed(self, folder: Path, path: str, held: Held) -> bool:
        is_given = self._engines.get(folder, {}).get(path) == held.sha256
        return is_given and os.path.lexists(folder / path)

    def _place(self, models: RunModels, folder: Path) -> None:
        for gone in [one for one in self._engines if not one.exists()]:
            del self._engines[gone]
        for path, held in models.given.items():
            if self._is_placed(folder, path, held):
                continue
            try:
                link_or_copy_file(held.path, folder, path)
            except EngineError as error:
                raise _failure(path, f"{error} {_NEXT}") from error
            self._engines.setdefault(folder, {})[path] = held.sha256

    def _give_up(self, sha256: str) -> None:
        """Take a content that no run uses from the engines that were given it."""
        for folder, placed in list(self._engines.items()):
            for path in [path for path, content in list(placed.items()) if content == sha256]:
                with contextlib.suppress(OSError), Folder.at(folder.resolve()) as held:
                    above, _, name = path.rpartition("/")
                    with held.folder(above) if above else contextlib.nullcontext(held) as below:
                        below.unlink(name)
                placed.pop(path, None)


_NEXT = "Put the file into the worker's models folder, or run again when this is repaired."


def _nowhere(there: Path | None) -> str:
    what = "nobody says where it can be fetched: it was not uploaded, and the manifest names no address"
    if there is not None:
        return f"The worker has another file of that name, and {what}. Deploy with the file that it has, or upload it."
    return f"{what[0].upper()}{what[1:]}. Put it into the worker's models folder, or upload it."


def link_or_copy_file(source: Path, models: Path, path: str) -> None:
    """Let `path` below `models` be the same bytes, whole or not at all; what is there otherwise is replaced.

    Raises OSError, and EngineError where a link is on the way: an engine of the same user could have put it there.
    """
    models.mkdir(exist_ok=True)  # not what is above it: an engine that has ended takes its folders with it
    *above, last = path.split("/")
    try:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(Folder.at(models.resolve()))
            for part in above:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder.descriptor)
                folder = held.enter_context(folder.folder(part))
            _link_or_copy(source, folder, last)
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise
        raise EngineError(f"The path {path!r} leads over a link in the engine's models folder.") from error


def _link_or_copy(source: Path, folder: Folder, name: str) -> None:
    fresh = f".{uuid.uuid4().hex}.part"
    try:
        try:
            os.link(source, fresh, dst_dir_fd=folder.descriptor)
        except OSError:
            # Another file system, or one without hard links.
            folder.copy_in(source, fresh, None, mode=0o644)
        os.rename(fresh, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    finally:
        folder.unlink(fresh)


def _can_be_linked(file: Path, store: Path) -> bool:
    """Tell whether a file of the operator's can get another name beside the store, which any engine can read."""
    state = file.stat()
    is_ours = os.geteuid() in (0, state.st_uid)  # Linux lets nobody link what is another's
    return is_ours and bool(state.st_mode & 0o004) and state.st_dev == store.stat().st_dev


def _missing(model: Model, why: str, *, again: bool = False, lacking: bool = False) -> RunFailed:
    return _failure(model.path, why, again=again, lacking=lacking)


def _failure(path: str, why: str, *, again: bool = False, lacking: bool = False) -> RunFailed:
    return failed(
        FailureCode.MODEL_MISSING,
        Stage.PREPARE,
        f'The model "{path}" of the workflow could not be placed on the worker. {why}',
        details={"model": path},
        retryable=again,
        lacking=lacking,
    )
