"""What a lease needs of a version. Versions never change, so copies in memory need no invalidation."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from runflow.db.sized_memory import SizedMemory
from runflow.db.transaction import Transaction
from runflow.models.cached import cached_models
from runflow.models.service import DeclaredModel, declared
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.workflows import queries

MAX_BYTES = 64 * 1024 * 1024
"""Most text that is remembered, in characters of JSON (bytes, but for non-ASCII text)."""


@dataclass(frozen=True, slots=True)
class VersionPayload:
    """A version. Documents are JSON that an answer carries without parsing it; interface and resources are parsed.

    A part of the manifest that was never sent is an empty object.
    """

    version_id: UUID
    org_id: UUID
    number: int
    fingerprint: str
    workflow_json: orjson.Fragment
    interface: dict[str, Any]
    environment: orjson.Fragment
    models: orjson.Fragment
    custom_nodes: orjson.Fragment
    declared_models: tuple[DeclaredModel, ...]
    cached_files: tuple[LeasedCachedFile, ...]
    """Of the caches of libraries, without what only a lease says of them."""
    resources: Any
    size: int


def untitled_prompt(payload: VersionPayload) -> orjson.Fragment:
    """Return a version's prompt without what its author wrote about the nodes, for runs of other organizations.

    Titles are words of the owner's; a worker that is not told them tells them to nobody.
    """
    prompt: dict[str, Any] = orjson.loads(orjson.dumps(payload.workflow_json))
    return orjson.Fragment(
        orjson.dumps({key: {name: node[name] for name in node if name != "_meta"} for key, node in prompt.items()})
    )


class VersionMemory:
    """Versions by id, the least recently used one leaving first, bounded by the size of their documents."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Remember at most `max_bytes` of documents."""
        self._held: SizedMemory[UUID, VersionPayload] = SizedMemory(max_bytes)

    def remembered(self, version_id: UUID) -> VersionPayload | None:
        """Return a version if it is in memory."""
        return self._held.get(version_id)

    async def get(self, transaction: Transaction, version_id: UUID) -> VersionPayload:
        """Return a version, from memory or by this transaction. Raises LookupError where there is none."""
        held = self.remembered(version_id)
        if held is not None:
            return held
        row = await queries.version_row(transaction, version_id)
        if row is None:
            raise LookupError(f"there is no workflow version {version_id}")
        documents = (row.workflow_json, row.interface, row.environment, row.models, row.custom_nodes, row.resources)
        payload = VersionPayload(
            version_id=version_id,
            org_id=row.org_id,
            number=row.number,
            fingerprint=row.fingerprint,
            workflow_json=orjson.Fragment(row.workflow_json),
            interface=orjson.loads(row.interface),
            environment=orjson.Fragment(row.environment or "{}"),
            models=orjson.Fragment(row.models or "{}"),
            custom_nodes=orjson.Fragment(row.custom_nodes or "{}"),
            declared_models=declared(orjson.loads(row.models or "null")),
            cached_files=cached_models(orjson.loads(row.environment or "null")).files,
            resources=orjson.loads(row.resources or "null"),
            size=sum(len(text) for text in documents if text),
        )
        self._held.put(version_id, payload, payload.size)
        return payload


_memory = VersionMemory()


async def version_payload(transaction: Transaction, version_id: UUID) -> VersionPayload:
    """Return what a lease needs of a version. Raises LookupError where there is none.

    A remembered version is returned whatever the transaction may see: ask only for a version of the run at hand.
    """
    return await _memory.get(transaction, version_id)


def remembered_version(version_id: UUID) -> VersionPayload | None:
    """Return what a lease needs of a version, if it needs no look into the database."""
    return _memory.remembered(version_id)
