"""What a dispatch needs to know of a workflow, from memory where that is safe: this is the hot path."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from runflow import errors
from runflow.db.notifications import Hub
from runflow.graph import Interface, is_slug
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import public, queries
from runflow.workflows.fields import GpuMode
from runflow.workflows.service import TOPIC
from runflow.workflows.versions.payload import VersionPayload, version_payload

__all__ = ["AUTO", "DispatchTarget", "VersionPayload", "dispatch_target", "version_payload", "workflow_id_of"]

AUTO = "auto"
"""GPU class of runs that may go to any GPU that fits."""
REMEMBER_SECONDS = 10.0
"""Longest that an entry is used, should a hint be lost without the connection breaking."""
MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class DispatchTarget:
    """A live workflow and its current version. `gpu_class` is `auto` or GPU codes in order, `L40S,A100`.

    `org_id` is the owner's, which for a public workflow is not the caller's: a run belongs to its caller.
    """

    workflow_id: UUID
    org_id: UUID
    owner: str
    slug: str
    version_id: UUID
    version: str
    status_code: str
    gpu_class: str
    timeout_seconds: int | None
    interface: Interface
    fingerprint: str
    resources: Any


async def dispatch_target(services: Services, caller: Principal, owner: str, slug: str) -> DispatchTarget:
    """Return the workflow to run: an own one, disabled ones included, or a public one of another organization.

    Raises `WorkflowNotFound`.

    Once a change of a workflow was answered by this process, it is seen here; another process's change is seen with
    its hint. While hints cannot arrive, every call asks the database.
    """
    if not is_slug(owner) or not is_slug(slug):
        raise errors.WorkflowNotFound
    cache = _cache(services.hub)
    is_own = owner == caller.org_slug
    # What is public is the same for every caller from outside.
    key = caller.org_id if is_own else None, owner, slug
    found = cache.get(key) if services.hub.connected else None
    if found is not None:
        return found
    generation = cache.generation
    if is_own:
        async with services.db.tenant(caller.org_id) as transaction:
            row = await queries.dispatch_row(transaction, caller.org_id, slug)
    else:
        row = await public.dispatch_row(services, (owner, slug))
    if row is None:
        raise errors.WorkflowNotFound
    target = DispatchTarget(
        workflow_id=row.id,
        org_id=row.org_id,
        owner=owner,
        slug=slug,
        version_id=row.version_id,
        version=row.version,
        status_code=row.status_code,
        gpu_class=",".join(row.gpu_explicit_models) if row.gpu_mode == GpuMode.EXPLICIT else AUTO,
        timeout_seconds=row.timeout_seconds,
        interface=Interface.from_dict(row.interface),
        fingerprint=row.fingerprint,
        resources=row.resources,
    )
    # A change that arrived while we looked wins over what we saw.
    if services.hub.connected and generation == cache.generation:
        cache.put(key, target)
    return target


async def workflow_id_of(services: Services, caller: Principal, owner: str, slug: str) -> UUID:
    """Return the id of a live workflow by its path, own or public. Raises `WorkflowNotFound`."""
    return (await dispatch_target(services, caller, owner, slug)).workflow_id


_Key = tuple[UUID | None, str, str]


class _Cache:
    """Dispatch targets by path, the least recently used one leaving first. `generation` counts the changes heard of."""

    def __init__(self) -> None:
        self.generation = 0
        self._entries: OrderedDict[_Key, tuple[DispatchTarget, float]] = OrderedDict()

    def get(self, key: _Key) -> DispatchTarget | None:
        found, until = self._entries.get(key, (None, 0.0))
        if found is None or until < time.monotonic():
            return None
        self._entries.move_to_end(key)
        return found

    def put(self, key: _Key, target: DispatchTarget) -> None:
        self._entries[key] = target, time.monotonic() + REMEMBER_SECONDS
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_REMEMBERED:
            self._entries.popitem(last=False)

    def forget(self, subject: str) -> None:
        """Drop one workflow, or with an empty subject all of them."""
        self.generation += 1
        for key in [key for key, (held, _) in self._entries.items() if subject in ("", str(held.workflow_id))]:
            del self._entries[key]


_caches: WeakKeyDictionary[Hub, _Cache] = WeakKeyDictionary()


def _cache(hub: Hub) -> _Cache:
    """Return the cache that lives by this hub's hints; a process has one hub."""
    found = _caches.get(hub)
    if found is None:
        found = _caches[hub] = _Cache()
        hub.on(TOPIC, found.forget)
    return found
