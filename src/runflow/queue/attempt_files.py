"""The files of an attempt: under which keys they lie, and that they are there, for good, before its run succeeds.

What a finished run has never changes (docs/leases.md, "Completing, guarded"). Most storage holds that by itself, since
upload URLs of outputs replace nothing; where a bucket cannot, the bytes are copied away from what the URLs lead to.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import structlog

from runflow import errors
from runflow.protocol.completions import Completion, Output
from runflow.protocol.outputs import OutputName
from runflow.storage.keys import segment
from runflow.storage.store import StoredObject
from runflow.web.services import Services

log = structlog.get_logger()


def output_prefix(run_id: UUID, lease_id: UUID) -> str:
    """Return where an attempt may store outputs (docs/leases.md, "Completing, guarded")."""
    return f"runs/{run_id}/{lease_id}/"


def output_name(file: OutputName) -> str:
    """Return the last segment of an output's key: `{ordinal}-{basename}` (docs/leases.md, "Completing, guarded")."""
    basename = file.filename.replace("\\", "/").rsplit("/", 1)[-1]
    return segment(f"{file.ordinal}-{basename}")


def with_keys(body: Completion, run_id: UUID, lease_id: UUID) -> Completion:
    """Return a completion whose outputs all have keys: those too that come along with it."""
    if all(output.object_key is not None for output in body.outputs):
        return body
    prefix = output_prefix(run_id, lease_id)
    outputs = [replace(output, object_key=output.object_key or prefix + output_name(output)) for output in body.outputs]
    return replace(body, outputs=outputs)


class AttemptFiles:
    """The outputs that one completion names or brings, from the look for them to the run that has them."""

    def __init__(self, services: Services, lease: UUID, body: Completion, contents: Sequence[bytes]) -> None:
        """Begin to look for what is stored already: it may still be on its way to the disk."""
        self.lease = lease
        self._services = services
        self._storage = services.storage
        without_key = [output.ordinal for output in body.outputs if output.object_key is None]
        self._contents = dict(zip(without_key, contents, strict=True))
        named = [
            output.object_key for output in body.outputs if output.object_key and f"/{lease}/" in output.object_key
        ]
        self._looks: dict[str, asyncio.Task[StoredObject | None]] = {}
        if body.result == "succeeded":
            self._looks = {key: asyncio.create_task(self._storage.head(key)) for key in named}
        self._copies: dict[str, str] = {}
        self._handed_over = False

    async def stored(self, body: Completion, prefix: str) -> Completion:
        """Store what came along, see that all outputs are there, and return them with the keys that the run has.

        Call it while the lease is locked and open. Raises `ValidationFailed`, and what `Storage.keep` raises.
        """
        _check_keys(body.outputs, prefix)
        kept = await asyncio.gather(*(self._one(output) for output in body.outputs), return_exceptions=True)
        for problem in kept:
            if isinstance(problem, BaseException):
                raise problem
        return replace(body, outputs=[output for output in kept if isinstance(output, Output)])

    async def _one(self, output: Output) -> Output:
        key = output.object_key or ""
        content = self._contents.get(output.ordinal)
        if content is not None:
            await self._storage.keep(key, content, sha256=output.sha256 or "")
        try:
            final = await self._storage.sealed(key)
        except errors.NotFound:
            raise _absent(output) from None
        if final != key:
            self._copies[key] = final
        look = self._looks.get(final)
        self._check(output, await (self._storage.head(final) if look is None else look))
        return replace(output, object_key=final)

    def _check(self, output: Output, stored: StoredObject | None) -> None:
        """An output must be in storage, in the size the worker says."""
        if stored is None:
            raise _absent(output)
        # A bucket holds a sender to the size only where it was known when the URL was signed.
        if stored.size_bytes > (limit := self._services.settings.max_output_bytes):
            raise errors.ValidationFailed(
                f"The output {output.filename!r} has {stored.size_bytes} bytes; the limit is {limit} "
                "(RUNFLOW_MAX_OUTPUT_BYTES)."
            )
        if stored.size_bytes != output.size_bytes:
            raise errors.ValidationFailed(
                f"The output {output.filename!r} has {stored.size_bytes} bytes in storage, not {output.size_bytes}."
            )

    def stop_looking(self) -> None:
        """Give up the looks that nobody waits for any more."""
        for look in self._looks.values():
            look.cancel()

    def hand_over(self) -> None:
        """Say that the transaction is about to commit: whatever fails from here on, the run may have the copies."""
        self._handed_over = True

    async def forget_copies(self) -> None:
        """Remove what was copied for a run that does not have it; where it may have it, a sweep removes what is left.

        A connection that breaks in a commit, or a server that stops right after it, says nothing of what is committed.
        """
        if not self._handed_over:
            await self._remove(self._copies.values())

    async def forget_originals(self) -> None:
        """Remove what was copied away; what fails here, or comes later, goes with the run's outputs."""
        await self._remove(self._copies)

    async def _remove(self, keys: Iterable[str]) -> None:
        if self._copies:
            try:
                await self._storage.delete(keys)
            except errors.RunflowError as error:
                log.warning("a file of an attempt stays for retention to remove", error=str(error))


def _absent(output: Output) -> errors.ValidationFailed:
    return errors.ValidationFailed(f"The output {output.filename!r} is not in storage: upload it first.")


def _check_keys(outputs: Sequence[Output], prefix: str) -> None:
    seen: set[int] = set()
    for output in outputs:
        if output.object_key is None or not output.object_key.startswith(prefix):
            raise errors.ValidationFailed(
                f"The output key {output.object_key!r} is not below {prefix!r} of this attempt."
            )
        if output.ordinal in seen:
            raise errors.ValidationFailed(f"Two outputs have the ordinal {output.ordinal}.")
        seen.add(output.ordinal)
