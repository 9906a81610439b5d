"""Rules of asking for pre-builds. Who carries them out stands in `queue/prebuilds.py`."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.graph import GraphWarning
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import writing
from runflow.workflows.prebuilds import queries
from runflow.workflows.runtime.known import TOPIC as ELIGIBILITY
from runflow.workflows.versions.queries import name_of
from runflow.workflows.versions.queries import one as one_version

TOPIC = "prebuilds"
"""Hints on it tell that a pre-build waits for a worker."""
MOST_OPEN = 200
"""So many pre-builds of an organization may wait at a time."""


async def request(services: Services, caller: Principal, workflow_id: UUID, version: str) -> dict[str, Any]:
    """Ask for the pre-build of a version, given by its number or id, and return it; one under way goes on.

    Raises `WorkflowNotFound`, `WorkflowVersionNotFound`, `LimitReached`.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        workflow = await writing.locked(transaction, workflow_id)
        found = await one_version(transaction, workflow_id, name_of(version, workflow_id), ())
        if found is None:
            raise errors.WorkflowVersionNotFound
        if await is_full(transaction, found.id):
            raise errors.LimitReached(
                f"Your organization has {MOST_OPEN} pre-builds that wait. Ask again when some of them have ended."
            )
        await ask(transaction, caller, workflow.id, found.id)
        details = {"version": str(found.number)}
        await recorder.record(
            transaction, caller, "comfyui_workflow.prebuild_requested", "comfyui_workflow", workflow.id, details
        )
        row = await queries.one(transaction, found.id)
        if row is None:
            raise errors.Internal
    publish(services)
    return queries.record(row)


def publish(services: Services) -> None:
    """Tell every process, after the commit, that a pre-build was asked for: what failed is to be tried again."""
    services.hub.publish(ELIGIBILITY)
    services.hub.publish(TOPIC)


async def ask(transaction: Transaction, caller: Principal, workflow_id: UUID, version_id: UUID) -> None:
    """Ask for a pre-build in the transaction that deploys; publish `TOPIC` after it."""
    await queries.ask(transaction, version=version_id, org=caller.org_id, workflow=workflow_id, key=caller.key_id)


async def is_full(transaction: Transaction, version_id: UUID) -> bool:
    """Tell whether so many pre-builds of the organization wait that no other one may."""
    return await queries.count_open(transaction, but=version_id, most=MOST_OPEN) >= MOST_OPEN


async def ask_with_deployment(
    transaction: Transaction, caller: Principal, workflow_id: UUID, version_id: UUID
) -> list[GraphWarning]:
    """Ask for the pre-build of what is being deployed. Where too many wait, it is deployed all the same."""
    if await is_full(transaction, version_id):
        return [
            GraphWarning(
                None,
                f"No machine is prepared for it: {MOST_OPEN} pre-builds of your organization wait already.",
                "Ask again when some of them have ended, or let the first run wait for what it needs.",
            )
        ]
    await ask(transaction, caller, workflow_id, version_id)
    return []
