"""From a lease to a prompt that the engine can execute: files fetched and checked, resources placed, values bound."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from runflow.graph import (
    BindError,
    GraphProblem,
    InputType,
    MediaKind,
    MediaReference,
    bind,
    media_inputs,
)
from runflow.outgoing import (
    GuardedClient,
    HttpStatusError,
    OutgoingConnectionError,
    OutgoingError,
    OutgoingTimeout,
)
from runflow.protocol.failures import FailureCode, Stage
from runflow.worker.attempts.failures import failed
from runflow.worker.attempts.lease import Lease, Resource
from runflow.worker.attempts.media import NotAnImage, name_in_url, safe_name, suffix_for, verify_image
from runflow.worker.attempts.waits import Waits
from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.server_api.connection import Connection
from runflow.worker.server_api.retry import Backoff
from runflow.worker.store.fetch.download import DownloadFailed, download, on_disk, size_of
from runflow.worker.store.fetch.progress import Tell
from runflow.worker.store.models import ModelFetcher, RunModels
from runflow.worker.store.resources import ResourceCache, use_placed

FETCH_TRIES = 3
"""How often a caller's URL is tried where its host does not answer or answers 5xx."""

T = TypeVar("T")
PlaceInput = Callable[[Path, str], Awaitable[str]]
"""Gives a local file to the engine, below a folder of this run, and returns the name by which a prompt uses it."""
LayHome = Callable[[HomeFiles], Awaitable[None]]
"""Puts links and texts into the engine's home."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """What fetching needs. Sizes in bytes, times in seconds.

    `patience`: how long a server that is away is waited for. `url_limit`, `url_timeout`: bounds of a caller's URL.
    """

    connection: Connection
    outgoing: GuardedClient
    cache: ResourceCache
    models: ModelFetcher
    patience: float
    url_limit: int
    url_timeout: float


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file of a run in its staging folder. `name` is an input's, or the path of a resource."""

    name: str
    path: Path
    what: str
    """What it is, in words."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a run needs of files, on this machine."""

    inputs: tuple[FetchedFile, ...] = ()
    resources: tuple[FetchedFile, ...] = ()
    models: RunModels = field(default_factory=RunModels)
    """Those whose engine takes any of us; who has this releases them."""


async def fetch(
    lease: Lease,
    fetching: Fetching,
    *,
    staging: Path,
    takes_models: bool = False,
    tell: Tell = lambda _: None,
    waits: Waits | None = None,
) -> Fetched:
    """Bring the run's files to this machine: before it takes an engine, which others would wait for.

    `staging` is a folder of this run on the worker, made if it is needed. `takes_models`: whether engines here are
    given models. `tell` hears how that goes where it takes long, `waits` how long it took. Raises `RunFailed`.
    """
    try:
        references = media_inputs(lease.interface, lease.values)
    except ValueError as error:
        raise failed(FailureCode.INPUT_VALIDATION_FAILED, Stage.PREPROCESS, str(error)) from error
    models = RunModels()
    if (lease.models or lease.cached) and takes_models:
        with (waits or Waits()).for_models():
            models = await fetching.models.fetch(
                fetching.connection, lease.models, cached=lease.cached, patience=fetching.patience, tell=tell
            )
    if not references and not lease.resources:
        return Fetched(models=models)
    try:
        await asyncio.to_thread(staging.mkdir, mode=0o700, parents=True, exist_ok=True)
        return replace(await _fetch_files(lease, references, fetching, staging), models=models)
    except BaseException:
        await models.release()
        raise


async def place(
    lease: Lease,
    fetched: Fetched,
    fetching: Fetching,
    *,
    output_folder: str,
    place_input: PlaceInput,
    models_folder: Path | None = None,
    lay_home: LayHome | None = None,
    waits: Waits | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the bound prompt of the run, its files in the engine's hands.

    `output_folder` is of this run alone, relative to ComfyUI's output folder. `models_folder` is the engine's own, for
    what it is given, and `lay_home` reaches its home; `waits` hears how long that took. Raises `RunFailed`, and what
    `place_input` raises.
    """
    prompt, interface, values = lease.prompt, lease.interface, lease.values
    with (waits or Waits()).for_models():
        if fetched.models.given and models_folder is not None:
            await fetching.models.place(fetched.models, models_folder)
        if fetched.models.home and lay_home is not None:
            await _laid(lay_home, fetched.models.home)
    both = (*fetched.inputs, *fetched.resources)
    places = await _all(_placed(place_input, file) for file in both) if both else []
    files = {file.name: at for file, at in zip(fetched.inputs, places, strict=False)}
    placed = dict(zip((file.name for file in fetched.resources), places[len(fetched.inputs) :], strict=True))
    if placed:
        prompt, interface, values = use_placed(prompt, interface, values, placed)
    try:
        return bind(prompt, interface, values, files=files, output_folder=output_folder)
    except BindError as error:
        raise _cannot_bind(error.problems[0]) from error


async def _fetch_files(
    lease: Lease, references: dict[str, MediaReference], fetching: Fetching, staging: Path
) -> Fetched:
    async def one_input(ordinal: int, name: str, reference: MediaReference) -> FetchedFile:
        path = await _fetch_input(lease, name, reference, fetching, staging, ordinal)
        return FetchedFile(name, path, f'the file of input "{name}"')

    async def one_resource(ordinal: int, resource: Resource) -> FetchedFile:
        path = staging / safe_name(resource.path, ordinal)
        what = f'the resource "{resource.path}"'
        try:
            await fetching.cache.place(fetching.connection, resource.file, path, patience=fetching.patience)
        except (DownloadFailed, OSError) as error:
            raise failed(
                FailureCode.INPUT_FETCH_FAILED,
                Stage.PREPARE,
                f"The worker could not get {what} of the workflow. {_reason(error)} Run it again; "
                "if it fails again, deploy the workflow again so that its files are uploaded anew.",
                details={"resource": resource.path},
                retryable=True,
            ) from error
        return FetchedFile(resource.path, path, what)

    count = len(references)
    inputs = [one_input(ordinal, name, reference) for ordinal, (name, reference) in enumerate(references.items())]
    resources = [one_resource(count + ordinal, resource) for ordinal, resource in enumerate(lease.resources)]
    files = await _all((*inputs, *resources))
    return Fetched(tuple(files[:count]), tuple(files[count:]))


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do everything at once; the first failure ends the rest, and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
    return [task.result() for task in tasks]


async def _fetch_input(
    lease: Lease, name: str, reference: MediaReference, fetching: Fetching, staging: Path, ordinal: int
) -> Path:
    if reference.kind is MediaKind.ASSET:
        path = await _fetch_asset(lease, name, reference, fetching, staging, ordinal)
    else:
        path = await _fetch_url(name, reference.value, fetching, staging, ordinal)
    spec = lease.interface.find_input(name)
    if spec is not None and spec.variable_type_code is InputType.IMAGE:
        path = await _checked_image(name, path)
    return path


async def _fetch_asset(
    lease: Lease, name: str, reference: MediaReference, fetching: Fetching, staging: Path, ordinal: int
) -> Path:
    file = lease.files.get(reference.value)
    if file is None:
        raise _not_fetched(name, "The server sent no address for its asset.", "storage", retryable=True)
    path = staging / safe_name(file.filename, ordinal)
    try:
        await download(fetching.connection, file, path, patience=fetching.patience)
    except (DownloadFailed, OSError) as error:
        raise _not_fetched(name, _reason(error), "storage", retryable=True) from error
    return path


async def _fetch_url(name: str, url: str, fetching: Fetching, staging: Path, ordinal: int) -> Path:
    path = staging / safe_name(name_in_url(url), ordinal)
    backoff = Backoff(first=0.5)
    for attempt in range(FETCH_TRIES):
        try:
            fetched = await fetching.outgoing.fetch(
                url, limit=fetching.url_limit, timeout=fetching.url_timeout, destination=path
            )
        except OutgoingError as error:
            if attempt + 1 < FETCH_TRIES and _may_pass(error):
                await asyncio.sleep(backoff.delay())
                continue
            raise _not_fetched(name, str(error), error.host) from error
        except OSError as error:
            raise _not_fetched(name, _reason(error), "the worker's disk", retryable=True) from error
        break
    if fetched.filename and not path.suffix:
        # The answer's Content-Disposition knew a name with a suffix, which loaders go by.
        path = path.rename(staging / safe_name(fetched.filename, ordinal))
    return path


async def _checked_image(name: str, path: Path) -> Path:
    """Make sure that it is a picture, and that its name has a suffix. Returns where it is then."""
    try:
        await on_disk(size_of(path), partial(verify_image, path))
    except NotAnImage as error:
        raise failed(
            FailureCode.INPUT_VALIDATION_FAILED,
            Stage.PREPROCESS,
            f'Input "{name}" is not an image: {error}. Send a PNG, JPEG or WebP picture.',
            details={"input": name},
        ) from error
    return path if path.suffix else _with_suffix(path)


def _with_suffix(path: Path) -> Path:
    with path.open("rb") as file:
        suffix = suffix_for(file.read(16))
    return path.rename(path.with_suffix(suffix)) if suffix else path


async def _laid(lay_home: LayHome, files: HomeFiles) -> None:
    try:
        await lay_home(files)
    except OSError as error:
        raise _not_given("the caches of libraries", error) from error


async def _placed(place_input: PlaceInput, file: FetchedFile) -> str:
    try:
        return await place_input(file.path, file.path.name)
    except OSError as error:
        raise _not_given(file.what, error) from error


def _not_given(what: str, error: OSError) -> Exception:
    return failed(
        FailureCode.INTERNAL,
        Stage.PREPARE,
        f"The worker could not give {what} to the engine. {_reason(error)} Ask the operator to look at the worker.",
        retryable=True,
    )


def _may_pass(error: OutgoingError) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, HttpStatusError):
        return error.status >= 500 or error.status in (408, 425, 429)
    return isinstance(error, OutgoingConnectionError | OutgoingTimeout)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or 'The disk failed'}."
    return str(error)


def _not_fetched(name: str, reason: str, host: str, *, retryable: bool = False) -> Exception:
    return failed(
        FailureCode.INPUT_FETCH_FAILED,
        Stage.PREPROCESS,
        f'The file of input "{name}" could not be fetched from {host}. {reason} '
        "Check that it can be downloaded, then run again.",
        details={"input": name, "host": host},
        retryable=retryable,
    )


def _cannot_bind(problem: GraphProblem) -> Exception:
    return failed(
        FailureCode.WORKFLOW_INVALID,
        Stage.PREPARE,
        str(problem),
        node_id=problem.node_id,
        node_type=problem.class_type,
    )
