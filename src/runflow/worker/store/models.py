"""The models that a version declares, each by its content: found here or fetched, and given to the run's engine.

A model is what its SHA-256 says. The operator's own file counts where it has that content, at its path or at another
one; else it comes from the server, for what the version's organization has uploaded, or from the address that the
manifest names. Where no hash is named, the operator's file of that path counts, or whatever the address had first.
"""

import asyncio
import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from runflow.outgoing import GuardedClient
from runflow.protocol.abilities import PICKLES
from runflow.protocol.cached_files import LeasedCachedFile, fault_of
from runflow.protocol.failures import FailureCode, Stage
from runflow.worker.attempts.failures import RunFailed, failed
from runflow.worker.attempts.lease import Model
from runflow.worker.engine.base import EngineError
from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.caches import HUGGINGFACE, as_model, home_files, names
from runflow.worker.store.content import ContentStore, Held, WrongContent
from runflow.worker.store.fetch.addresses import Addresses, name_of
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.fetch.progress import Progress, Tell
from runflow.worker.store.fetch.ranges import Source, SourceFailed
from runflow.worker.store.fetch.sources import AddressSource, ServerSource
from runflow.worker.store.fetch.turns import Turns
from runflow.worker.store.known_hashes import FileChanged
from runflow.worker.store.own_models import OwnModels
from runflow.worker.store.paths import model_path
from runflow.worker.store.placing import Placer
from runflow.worker.store.read_ahead import read_ahead

TIDY_SECONDS = 60.0


@dataclass(slots=True)
class RunModels:
    """The models of one run, which stay until they are released. Paths are as `model_path` makes them."""

    given: dict[str, Held] = field(default_factory=dict)
    """Those that its engine is to be given."""
    there: dict[str, Path] = field(default_factory=dict)
    """Those that every engine here has."""
    home: HomeFiles = field(default_factory=HomeFiles)
    """What its engine's home is to hold: how libraries find those of their caches."""
    _reading: asyncio.Task[int] | None = None
    _placer: Placer | None = None

    @property
    def contents(self) -> dict[str, str]:
        """The SHA-256 of what is given, by path."""
        return {path: held.sha256 for path, held in self.given.items()}

    @property
    def names(self) -> dict[str, str]:
        """What an engine that has them knows under which name: where two versions differ, they share none."""
        return {**self.contents, **names(self.home)}

    @property
    def files(self) -> set[Path]:
        """Where they lie, links resolved."""
        return {path.resolve() for path in (*(held.path for held in self.given.values()), *self.there.values())}

    def begin(self, placer: Placer) -> None:
        """Have an engine keep what it is given, until the release."""
        if self._placer is None and self.given:
            self._placer = placer
            placer.begin(self.contents.values())

    def read_ahead(self, files: Collection[Path]) -> None:
        """Have some of the files read before an engine does so, while others execute."""
        self._reading = asyncio.create_task(read_ahead(files), name="read ahead")

    async def release(self) -> None:
        """Need them no more."""
        if self._placer is not None:
            self._placer.end(self.contents.values())
            self._placer = None
        for held in self.given.values():
            held.release()
        self.given.clear()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})


class ModelFetcher:
    """Gets the models of runs, and gives them to engines. `allow_pickle`: formats that can hold code as well.

    `most_bytes` bounds what is fetched. `huggingface`: where files of its caches are.
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
        huggingface: str = HUGGINGFACE,
    ) -> None:
        self._store = store
        self._own = own
        self._outgoing = outgoing
        self._credentials = credentials
        self._allow_pickle = allow_pickle
        self._most_bytes = most_bytes
        self._huggingface = huggingface
        self._addresses = Addresses(store.folder / "addresses")
        self._latest: set[Path] = set()
        self._placer = Placer()
        self._turns = Turns()
        store.on_remove = self._placer.give_up

    async def fetch(
        self,
        connection: Connection,
        models: Collection[Model],
        *,
        cached: Collection[LeasedCachedFile] = (),
        patience: float,
        tell: Tell = lambda _: None,
        can_wait: bool = False,
    ) -> RunModels:
        """Have the models here, and the files of libraries' caches. `tell` hears how it goes where it takes long.

        `can_wait`: no run needs them yet, so what runs fetch comes first. Raises `RunFailed`, MODEL_MISSING.
        """
        found = RunModels(home=home_files(cached))
        models = [*models, *(_model_of(file, self._huggingface) for file in cached)]
        paths = {model.path: _path_of(model) for model in models}
        try:
            own = await self._own.find({*paths.values()})
            for model in models:
                path = paths[model.path]
                if path not in found.given and path not in found.there:
                    fetching = _Fetching(connection, model, path, patience, tell, can_wait)
                    await self._add(found, fetching, own.get(path))
        except BaseException:
            await found.release()
            raise
        # What the run before has loaded needs no reading, and to see whether it is in memory takes a while, too.
        before, self._latest = self._latest, found.files
        if ahead := self._latest - before:
            found.read_ahead(ahead)
        return found

    async def _add(self, found: RunModels, fetching: "_Fetching", there: Path | None) -> None:
        model, path = fetching.model, fetching.path
        try:
            if there is not None and await self._is_meant(fetching, there):
                found.there[path] = there
                return
            held = await self._content(fetching)
            if held is not None:
                found.given[path] = held
                return
            elsewhere = await self._own.find_anywhere(path) if there is None and model.sha256 is not None else None
            if elsewhere is not None and await self._is_meant(fetching, elsewhere):
                found.there[path] = elsewhere
                return
        except WrongContent as error:
            # The server signs another URL for the next attempt; what else an address has, it has for all.
            raise _missing(model, f"{error} {_NEXT}", again=model.is_upload) from error
        except (SourceFailed, FileChanged, OSError) as error:
            raise _missing(model, f"{_reason(error)} {_NEXT}", again=True) from error
        if model.sha256 is not None and self._own.is_told:
            raise _missing(model, _nowhere(there), lacking=True)

    async def _is_meant(self, fetching: "_Fetching", file: Path) -> bool:
        """Tell whether a file of the operator's is the model; read it where nobody has yet."""
        model = fetching.model
        if model.sha256 is None:
            return True
        if self._own.known.known(file) is None:
            fetching.tell(f'Reading the model "{model.name}" of this worker for the first time, to know its content.')
        is_same = await self._own.sha256(file) == model.sha256
        if not is_same and self._own.is_first(file):
            raise _missing(
                model,
                "The worker has another file of that name in a folder that its extra_model_paths.yaml calls the "
                "default one, which comes before whatever an engine is given. Rename that file, or deploy with it.",
                lacking=True,
            )
        return is_same

    async def _content(self, fetching: "_Fetching") -> Held | None:
        """Return the model from the store, brought there if need be; None where nobody says where it is."""
        model, sha256 = fetching.model, fetching.model.sha256
        if sha256 is not None and (file := self._own.holding(sha256)) is not None:
            if _can_be_linked(file, self._store.folder):
                return Held(file, sha256)
            return await self._store.adopt(file, sha256)
        if model.url is None:
            return None if sha256 is None else await self._store.take(sha256, public=True)
        suffix = PurePosixPath(fetching.path).suffix.lower()
        if suffix in PICKLES and not self._allow_pickle:
            raise _missing(
                model,
                f"Files of type {suffix} can hold code, and this worker fetches none. Deploy a .safetensors file "
                "instead, put the file into the worker's models folder, or let the operator set "
                "RUNFLOW_WORKER_ALLOW_PICKLE.",
                lacking=True,
            )
        if "/" not in fetching.path:
            raise _missing(
                model,
                "Its path names no folder below models/, so no engine would find it. Deploy with a path such as "
                f"checkpoints/{fetching.path}.",
            )
        if sha256 is None:
            sha256 = self._addresses.content_of(model.url)
        # Who only knows the hash of another's upload must not get it: an address has to have had it.
        if sha256 is not None and (held := await self._store.take(sha256, public=not model.is_upload)) is not None:
            return held
        if fetching.can_wait:
            return await self._turns.behind(
                lambda: self._fetch(fetching, sha256),
                lambda: fetching.tell(f'The model "{model.name}" waits for what a run fetches.'),
            )
        with self._turns.first():
            return await self._fetch(fetching, sha256)

    async def _fetch(self, fetching: "_Fetching", sha256: str | None) -> Held:
        model = fetching.model
        assert model.url is not None
        source: Source
        if model.is_upload:
            source, name = ServerSource(fetching.connection, model.url), f"upload-{sha256}"
        else:
            source = AddressSource(self._outgoing, model.url, self._credentials)
            # Of its own for each address: a slow one must not be what the others wait for.
            name = f"address-{name_of(model.url)}-{sha256 or 'any'}"
        held = await self._store.fetch(
            source,
            sha256=sha256,
            name=name,
            size_bytes=model.size_bytes if model.sha256 is not None else None,
            most_bytes=self._most_bytes,
            patience=fetching.patience,
            public=not model.is_upload,
            progress=Progress(model.name, fetching.tell),
        )
        if not model.is_upload and model.sha256 is None:
            with contextlib.suppress(OSError):  # then the next run asks again
                await asyncio.to_thread(self._addresses.note, model.url, held.sha256)
        return held

    async def place(self, models: RunModels, folder: Path) -> None:
        """Bring what a run is given to its paths below the engine's folder of models. Raises `RunFailed`."""
        models.begin(self._placer)
        if not self._placer.has(models.contents, folder):
            await asyncio.to_thread(self._place, models, folder)

    def _place(self, models: RunModels, folder: Path) -> None:
        for path, held in models.given.items():
            try:
                self._placer.place(path, held.sha256, held.path, folder)
            except EngineError as error:
                raise _failure(path, f"{error} {_NEXT}") from error
            except OSError as error:
                raise _failure(path, f"{_reason(error)} {_NEXT}", again=True) from error

    async def keep_tidy(self) -> None:
        """Take from engines what runs have not needed for long, until cancelled: other workers may want the room."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await asyncio.to_thread(self._placer.give_up_unused)


@dataclass(frozen=True, slots=True)
class _Fetching:
    """One model of a run, and how long its source is waited for."""

    connection: Connection
    model: Model
    path: str
    patience: float
    tell: Tell
    can_wait: bool


_NEXT = "Put the file into the worker's models folder, or run again when this is repaired."


def _path_of(model: Model) -> str:
    try:
        return model_path(model.path)
    except EngineError as error:
        raise _missing(model, f"{error} {_NEXT}") from error


def _model_of(file: LeasedCachedFile, endpoint: str) -> Model:
    if (fault := fault_of(file)) is not None:
        raise _failure(file.title, f"It {fault}. Deploy the workflow again.")
    return as_model(file, endpoint)


def _reason(error: Exception) -> str:
    if isinstance(error, FileChanged):
        return "The worker's file of that name was written to while it was read."
    return f"{error.strerror or 'The disk failed'}." if isinstance(error, OSError) else str(error)


def _nowhere(there: Path | None) -> str:
    what = "nobody says where it can be fetched: it was not uploaded, and the manifest names no address"
    if there is not None:
        return f"The worker has another file of that name, and {what}. Deploy with the file that it has, or upload it."
    return f"{what[0].upper()}{what[1:]}. Put it into the worker's models folder, or upload it."


def _can_be_linked(file: Path, store: Path) -> bool:
    """Tell whether a file of the operator's can get another name beside the store, which any engine can read."""
    state = file.stat()
    is_ours = os.geteuid() in (0, state.st_uid)  # Linux lets nobody link what is another's
    return is_ours and bool(state.st_mode & 0o004) and state.st_dev == store.stat().st_dev


def _missing(model: Model, why: str, *, again: bool = False, lacking: bool = False) -> RunFailed:
    return _failure(model.name, why, again=again, lacking=lacking)


def _failure(path: str, why: str, *, again: bool = False, lacking: bool = False) -> RunFailed:
    return failed(
        FailureCode.MODEL_MISSING,
        Stage.PREPARE,
        f'The model "{path}" of the workflow could not be placed on the worker. {why}',
        details={"model": path},
        retryable=again,
        lacking=lacking,
    )
