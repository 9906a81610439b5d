"""Writes down who changed what, in the transaction of the change itself.

Reads are not recorded, nor what has a durable record with the same facts already: dispatched runs and batches carry
`created_by` and `request_id` (docs/api/organizations.md, "Audit events").
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from runflow.accounts.audit import queries
from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.origin import current_origin


async def record(
    transaction: Transaction,
    caller: Principal,
    action: str,
    target_type: str,
    target_id: UUID | str | None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Record an action, e.g. `record(transaction, caller, "comfyui_workflow.deleted", "comfyui_workflow", row.id)`.

    `action` is `TARGET_TYPE.PAST_PARTICIPLE`. `details` says in short what changed (names of fields, not documents)
    and never holds a secret. The event commits, or not, with the change.
    """
    await queries.add(transaction, _event(caller, action, target_type, target_id, details))


async def record_operator(
    transaction: Transaction,
    org_id: UUID,
    action: str,
    target_type: str,
    target_id: UUID | str | None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Record what the operator did on the command line to an organization, as the system role."""
    await queries.add(
        transaction,
        {
            "id": new_id(),
            "org_id": org_id,
            "action_code": action,
            "actor_type": "operator",
            "actor_id": None,
            "target_type": target_type,
            "target_id": None if target_id is None else str(target_id),
            "details": dict(details) if details else None,
        },
    )


def _event(
    caller: Principal,
    action: str,
    target_type: str,
    target_id: UUID | str | None,
    details: Mapping[str, Any] | None,
) -> dict[str, Any]:
    origin = current_origin()
    return {
        "id": new_id(),
        "org_id": caller.org_id,
        "action_code": action,
        "actor_type": "api_key",
        "actor_id": caller.key_id,
        "target_type": target_type,
        "target_id": None if target_id is None else str(target_id),
        "details": dict(details) if details else None,
        "address": origin.address,
        "user_agent": origin.user_agent,
        "request_id": origin.request_id,
    }
