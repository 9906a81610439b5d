"""From the engine's files to the server's storage, by signed URLs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runflow.graph import OutputFile
from runflow.protocol.completions import Output
from runflow.protocol.failures import FailureCode, Stage
from runflow.protocol.outputs import OutputFile as Announced
from runflow.protocol.outputs import Upload
from runflow.worker.connection import Connection, LeaseLost, NotWelcome, ServerRefused, ServerUnavailable
from runflow.worker.failures import RunFailed, failed
from runflow.worker.media import HEAD_BYTES, content_type, image_size
from runflow.worker.retry import until_answered
from runflow.worker.store.download import INLINE_BYTES, on_disk, size_of

FAILING_SECONDS = 60.0
"""How long storage that answers with errors (a full disk) is tried before the run fails."""

_AT_ONCE = 4
_CHUNK_BYTES = 1024 * 1024
_FILES_PER_REQUEST = 500
_URL_TRIES = 3
"""How often fresh URLs are asked for where one is no longer accepted."""


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """An output on this machine. `content` is set for small files, so that they are read once."""

    file: OutputFile
    path: Path
    size_bytes: int
    content_type: str
    size: tuple[int, int] | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Uploading:
    """Where a run's outputs go, and for how many seconds a server that is away is waited for."""

    connection: Connection
    lease_id: str
    patience: float
    ready: Mapping[tuple[int, str, str], Upload] = field(default_factory=dict)
    """Upload URLs that came with the lease, by ordinal, file name and content type."""


async def inspect(file: OutputFile, path: Path, *, limit_bytes: int) -> LocalOutput:
    """Look at an output file. Raises `RunFailed`: it is not there, or larger than `limit_bytes`."""
    try:
        size = size_of(path)
        if size > limit_bytes:
            raise failed(
                FailureCode.OUTPUT_UPLOAD_FAILED,
                Stage.UPLOAD,
                f'The file {file.filename} of output "{file.output_id}" has {size} bytes; at most {limit_bytes} are '
                "accepted. Make it smaller, or ask the operator to raise RUNFLOW_MAX_OUTPUT_BYTES.",
                node_id=file.node_id,
            )
        return await on_disk(size, partial(_look, file, path, size))
    except OSError as error:
        raise missing(file, f"{error.strerror or 'The disk failed'}.") from error


def missing(file: OutputFile, reason: str) -> RunFailed:
    """Return the failure for a file that the engine listed but that cannot be had."""
    return failed(
        FailureCode.OUTPUT_MISSING,
        Stage.COLLECT,
        f'The file {file.filename} of output "{file.output_id}", which node {file.node_id} reported, cannot be read. '
        f"{reason} See that the node leaves its file in place, then run again.",
        node_id=file.node_id,
    )


def _look(file: OutputFile, path: Path, size: int) -> LocalOutput:
    with path.open("rb") as opened:
        content = opened.read() if size <= INLINE_BYTES else None
        head = opened.read(HEAD_BYTES) if content is None else content[:HEAD_BYTES]
    media_type = content_type(file.filename, head)
    found = size if content is None else len(content)
    return LocalOutput(file, path, found, media_type, image_size(media_type, head, path), content)


def fit_inline(outputs: Sequence[LocalOutput], limit_bytes: int) -> bool:
    """Tell whether a completion may bring all of these files along."""
    return (
        all(output.content is not None for output in outputs)
        and sum(output.size_bytes for output in outputs) <= limit_bytes
    )


def inline(outputs: Sequence[LocalOutput]) -> tuple[list[Output], list[bytes]]:
    """Return the `outputs` of a completion that brings them along, and their contents."""
    contents = [output.content or b"" for output in outputs]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    return [_told(ordinal, output, None, hashes[ordinal]) for ordinal, output in enumerate(outputs)], contents


async def upload(outputs: list[LocalOutput], uploading: Uploading) -> list[Output]:
    """Store the files and return the `outputs` of the completion, in order.

    Raises `RunFailed` where storage does not take a file, and `LeaseLost`.
    """
    if not outputs:
        return []
    stored: dict[int, Output] = {}
    for attempt in range(_URL_TRIES):
        waiting = [ordinal for ordinal in range(len(outputs)) if ordinal not in stored]
        slots = await _slots(outputs, waiting, uploading, ahead=attempt == 0)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(ordinal: int, slot: Upload, limit: asyncio.Semaphore = limit) -> None:
            async with limit:
                stored[ordinal] = await _store(ordinal, outputs[ordinal], slot, uploading)

        results = await asyncio.gather(
            *(one(ordinal, slot) for ordinal, slot in zip(waiting, slots, strict=True)), return_exceptions=True
        )
        problems = [result for result in results if isinstance(result, BaseException)]
        if not problems:
            return [stored[ordinal] for ordinal in range(len(outputs))]
        # An expired URL is no reason to compute the picture again.
        if attempt + 1 == _URL_TRIES or not all(_is_stale(problem) for problem in problems):
            raise _explained(next((each for each in problems if not _is_stale(each)), problems[0]))
    raise AssertionError("unreachable")


async def _slots(outputs: list[LocalOutput], ordinals: list[int], uploading: Uploading, *, ahead: bool) -> list[Upload]:
    """Return an upload URL for each ordinal: one that came with the lease where it fits, else a fresh one."""
    found: dict[int, Upload] = {}
    for ordinal in ordinals if ahead else ():
        output = outputs[ordinal]
        slot = uploading.ready.get((ordinal, output.file.filename, output.content_type))
        if slot is not None:
            found[ordinal] = slot
    rest = [ordinal for ordinal in ordinals if ordinal not in found]
    if rest:
        found |= dict(zip(rest, await _request(outputs, rest, uploading), strict=True))
    return [found[ordinal] for ordinal in ordinals]


async def _request(outputs: list[LocalOutput], ordinals: list[int], uploading: Uploading) -> list[Upload]:
    files = [
        Announced(
            ordinal=ordinal,
            filename=outputs[ordinal].file.filename,
            content_type=outputs[ordinal].content_type,
            size_bytes=outputs[ordinal].size_bytes,
        )
        for ordinal in ordinals
    ]
    connection, lease_id = uploading.connection, uploading.lease_id
    slots: list[Upload] = []
    try:
        for first in range(0, len(files), _FILES_PER_REQUEST):
            some = files[first : first + _FILES_PER_REQUEST]
            ask = partial(connection.request_uploads, lease_id, some)
            slots += await until_answered(ask, what="upload URLs", seconds=uploading.patience)
    except (LeaseLost, NotWelcome):
        raise
    except (ServerRefused, ServerUnavailable) as error:
        raise _explained(error) from error
    by_ordinal = {slot.ordinal: slot for slot in slots}
    return [by_ordinal[ordinal] for ordinal in ordinals]


async def _store(ordinal: int, output: LocalOutput, slot: Upload, uploading: Uploading) -> Output:
    sha256 = await until_answered(
        lambda: _put(output, slot, uploading.connection),
        what="upload",
        seconds=uploading.patience,
        failing_seconds=FAILING_SECONDS,
    )
    return _told(ordinal, output, slot.object_key, sha256)


def _told(ordinal: int, output: LocalOutput, object_key: str | None, sha256: str) -> Output:
    width, height = output.size or (None, None)
    return Output(
        ordinal=ordinal,
        output_id=output.file.output_id,
        node_id=output.file.node_id,
        object_key=object_key,
        filename=output.file.filename,
        content_type=output.content_type,
        size_bytes=output.size_bytes,
        sha256=sha256,
        width=width,
        height=height,
    )


async def _put(output: LocalOutput, slot: Upload, connection: Connection) -> str:
    """Send the bytes once; return their SHA-256."""
    if output.content is not None:
        await connection.put(slot.url, slot.headers, output.content, slot.method)
        return hashlib.sha256(output.content).hexdigest()
    digest = hashlib.sha256()

    async def chunks() -> AsyncIterator[bytes]:
        with await asyncio.to_thread(output.path.open, "rb") as opened:
            while chunk := await asyncio.to_thread(_read, opened, digest):
                yield chunk

    # Storage services refuse bodies of unknown length.
    headers = {**slot.headers, "Content-Length": str(output.size_bytes)}
    await connection.put(slot.url, headers, chunks(), slot.method)
    return digest.hexdigest()


def _read(opened: Any, digest: Any) -> bytes:
    chunk: bytes = opened.read(_CHUNK_BYTES)
    digest.update(chunk)
    return chunk


def _is_stale(problem: BaseException) -> bool:
    return isinstance(problem, ServerRefused) and problem.status in (403, 410)


def _explained(problem: BaseException) -> BaseException:
    """The failure for what went wrong with storage; anything else as it is."""
    if isinstance(problem, LeaseLost | NotWelcome) or not isinstance(problem, ServerRefused | ServerUnavailable):
        return problem
    explained = failed(
        FailureCode.OUTPUT_UPLOAD_FAILED,
        Stage.UPLOAD,
        f"The run's outputs could not be stored: {problem} Ask the operator to look at the server's storage.",
        # What is too large, or refused by its content, will be so again.
        retryable=not (isinstance(problem, ServerRefused) and problem.status in (413, 415, 422)),
    )
    explained.__cause__ = problem
    return explained
