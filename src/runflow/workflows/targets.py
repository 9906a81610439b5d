"""What a dispatch needs to know of a workflow, from memory where that is safe: this is the hot path."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.db.hint_cache import HintCache
from runflow.graph import Interface, is_slug
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import public, queries
from runflow.workflows.fields import GpuMode
from runflow.workflows.service import TOPIC
from runflow.workflows.versions.payload import VersionPayload, version_payload

__all__ = [
    "AUTO",
    "DispatchTarget",
    "VersionPayload",
    "at_version",
    "dispatch_target",
    "version_payload",
    "workflow_id_of",
]

AUTO = "auto"
"""GPU class of runs that may go to any GPU that fits."""
REMEMBER_SECONDS = 10.0
"""Longest that an entry is used, should a hint be lost without the connection breaking."""
MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class DispatchTarget:
    """A live workflow and the version to run. `gpu_class` is `auto` or GPU codes in order, `L40S,A100`.

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
    is_serving: bool = True
    """False where no version serves yet, and the caller named none."""


async def dispatch_target(services: Services, caller: Principal, owner: str, slug: str) -> DispatchTarget:
    """Return the workflow to run: an own one, disabled ones included, or a public one of another organization.

    Raises `WorkflowNotFound`.

    Once a change of a workflow was answered by this process, it is seen here; another process's change is seen with
    its hint. While hints cannot arrive, every call asks the database.
    """
    if not is_slug(owner) or not is_slug(slug):
        raise errors.WorkflowNotFound
    is_own = owner == caller.org_slug
    # What is public is the same for every caller from outside.
    key = caller.org_id if is_own else None, owner, slug
    return await services.part(_cache).get(key, lambda: _read(services, caller, owner, slug, is_own=is_own))


async def _read(services: Services, caller: Principal, owner: str, slug: str, *, is_own: bool) -> DispatchTarget:
    if is_own:
        async with services.db.tenant(caller.org_id) as transaction:
            row = await queries.dispatch_row(transaction, caller.org_id, slug)
    else:
        row = await public.dispatch_row(services, (owner, slug))
    if row is None:
        raise errors.WorkflowNotFound
    return DispatchTarget(
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
        is_serving=row.is_serving,
    )


MOST_NAMED = 10
"""So many versions are named where one is asked for that there is not."""


async def at_version(services: Services, caller: Principal, target: DispatchTarget, number: int) -> DispatchTarget:
    """Return the target with this version instead of its own.

    Raises `ValidationFailed` for one that there is not, naming those that there are. Of another organization's workflow
    every version but the current one is answered alike, there or not: which others there were is its owner's to know.
    """
    if str(number) == target.version:
        return replace(target, is_serving=True) if target.org_id == caller.org_id else target
    if target.org_id != caller.org_id:
        raise _no_version(
            f"There is no version {number} for you: of another organization's workflow only the current version runs, "
            f"which is {target.version}. Leave `version` out."
        )
    async with services.db.tenant(caller.org_id) as transaction:
        version_id = await queries.version_id(transaction, target.workflow_id, number)
        if version_id is None:
            newest = await queries.versions_of(transaction, [target.workflow_id], MOST_NAMED)
            named = ", ".join(str(one.number) for one in newest)
            more = " and older ones" if newest[-1].number > 1 else ""
            raise _no_version(f"There is no version {number} of {target.owner}/{target.slug}. There are {named}{more}.")
        payload = await version_payload(transaction, version_id)
    return replace(
        target,
        version_id=version_id,
        version=str(number),
        interface=Interface.from_dict(payload.interface),
        fingerprint=payload.fingerprint,
        resources=payload.resources,
        is_serving=True,
    )


def _no_version(message: str) -> errors.ValidationFailed:
    fault = {"loc": ["body", "version"], "msg": message, "type": "unknown_version"}
    return errors.ValidationFailed(message, errors=[fault])


async def workflow_id_of(services: Services, caller: Principal, owner: str, slug: str) -> UUID:
    """Return the id of a live workflow by its path, own or public. Raises `WorkflowNotFound`."""
    return (await dispatch_target(services, caller, owner, slug)).workflow_id


_Key = tuple[UUID | None, str, str]


def _cache(services: Services) -> HintCache[_Key, DispatchTarget]:
    return HintCache(
        services.hub,
        TOPIC,
        lives=lambda _: REMEMBER_SECONDS,
        most=MAX_REMEMBERED,
        subject_of=lambda _, target: str(target.workflow_id),
    )
