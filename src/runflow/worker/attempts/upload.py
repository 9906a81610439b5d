"""From the engine's files to the server's storage, by signed URLs."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from runflow.graph import OutputFile
from runflow.protocol.completions import Output
from runflow.protocol.failures import FailureCode, Stage
from runflow.protocol.outputs import OutputFile as Announced
from runflow.protocol.outputs import Upload
from runflow.worker.attempts.failures import RunFailed, failed
from runflow.worker.attempts.media import HEAD_BYTES, content_type, image_size
from runflow.worker.engine.boundary import OpenedOutput
from runflow.worker.server_api.connection import Connection, LeaseLost, NotWelcome, ServerRefused, ServerUnavailable
from runflow.worker.server_api.retry import until_answered
from runflow.worker.store.fetch.download import INLINE_BYTES

FAILING_SECONDS = 60.0
"""How long storage that answers with errors (a full disk) is tried before the run fails."""

_AT_ONCE = 4
_CHUNK_BYTES = 1024 * 1024
_FILES_PER_REQUEST = 500
_URL_TRIES = 3
"""How often fresh URLs are asked for where one is no longer accepted."""


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """An output on this machine. `content` is set for small files, so that they are read once; `opened` for others."""

    file: OutputFile
    size_bytes: int
    content_type: str
    size: tuple[int, int] | None
    content: bytes | None = None
    opened: OpenedOutput | None = None

    def close(self) -> None:
        """Let go of the file."""
        if self.opened is not None:
            self.opened.close()


@dataclass(frozen=True, slots=True)
class Uploading:
    """Where a run's outputs go, and for how many seconds a server that is away is waited for."""

    connection: Connection
    lease_id: str
    patience: float
    ready: Mapping[tuple[int, str, str], Upload] = field(default_factory=dict)
    """Upload URLs that came with the lease, by ordinal, file name and content type."""


async def inspect(file: OutputFile, opened: OpenedOutput, *, limit_bytes: int) -> LocalOutput:
    """Look at an output file, which is the result's to close, or closed with an error.

    Raises `RunFailed`: it cannot be read, it changes, or it is larger than `limit_bytes`.
    """
    return await asyncio.to_thread(_look, file, opened, limit_bytes)


def missing(file: OutputFile, reason: str) -> RunFailed:
    """Return the failure for a file that the engine listed but that cannot be had."""
    return failed(
        FailureCode.OUTPUT_MISSING,
        Stage.COLLECT,
        f'The file {file.filename} of output "{file.output_id}", which node {file.node_id} reported, cannot be read. '
        f"{reason} See that the node leaves a plain file in its place, then run again.",
        node_id=file.node_id,
    )


def _look(file: OutputFile, opened: OpenedOutput, limit_bytes: int) -> LocalOutput:
    with contextlib.ExitStack() as unless_kept:
        unless_kept.callback(opened.close)
        size = opened.size_bytes
        if size > limit_bytes:
            raise failed(
                FailureCode.OUTPUT_UPLOAD_FAILED,
                Stage.UPLOAD,
                f'The file {file.filename} of output "{file.output_id}" has {size} bytes; at most {limit_bytes} are '
                "accepted. Make it smaller, or ask the operator to raise RUNFLOW_MAX_OUTPUT_BYTES.",
                node_id=file.node_id,
            )
        try:
            content = opened.read(size, 0) if size <= INLINE_BYTES else None
            head = opened.read(HEAD_BYTES, 0) if content is None else content[:HEAD_BYTES]
            media_type = content_type(file.filename, head)
            if opened.size_now() != size or (content is not None and len(content) != size):
                raise _changed(file)
            dimensions = image_size(media_type, head, opened.reader)
        except OSError as error:
            raise missing(file, f"{error.strerror or 'The disk failed'}.") from error
        if content is not None:
            return LocalOutput(file, size, media_type, dimensions, content=content)
        unless_kept.pop_all()
        return LocalOutput(file, size, media_type, dimensions, opened=opened)


def _changed(file: OutputFile) -> RunFailed:
    return failed(
        FailureCode.OUTPUT_UPLOAD_FAILED,
        Stage.UPLOAD,
        f'The file {file.filename} of output "{file.output_id}", which node {file.node_id} reported, was still being '
        "written: its size changed while it was read. See that the node ends when its file is whole, then run again.",
        node_id=file.node_id,
    )


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
    reading = _Reading(output)
    # Storage services refuse bodies of unknown length.
    headers = {**slot.headers, "Content-Length": str(output.size_bytes)}
    try:
        await connection.put(slot.url, headers, reading.chunks(), slot.method)
    except (ServerRefused, ServerUnavailable):
        # What broke off in the middle looks like trouble with the network.
        if reading.problem is not None:
            raise reading.problem from None
        raise
    return reading.digest.hexdigest()


class _Reading:
    """One way through a file that is sent: exactly as many bytes as were announced, hashed as they go."""

    def __init__(self, output: LocalOutput) -> None:
        self.digest = hashlib.sha256()
        self.problem: RunFailed | None = None
        self._output = output
        self._sent = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes. Raises `RunFailed`, and keeps it as `problem`, when the file is no longer what it was."""
        while self._sent < self._output.size_bytes:
            try:
                chunk = await asyncio.to_thread(self._next)
            except RunFailed as ended:
                self.problem = ended
                raise
            yield chunk

    def _next(self) -> bytes:
        file, opened, size = self._output.file, self._output.opened, self._output.size_bytes
        assert opened is not None
        try:
            chunk = opened.read(min(_CHUNK_BYTES, size - self._sent), self._sent)
            is_last = self._sent + len(chunk) == size
            if not chunk or (is_last and opened.size_now() != size):
                raise _changed(file)
        except OSError as error:
            raise missing(file, f"{error.strerror or 'The disk failed'}.") from error
        self._sent += len(chunk)
        self.digest.update(chunk)
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
