"""The operator's organization: the first one of the installation, which `runflow up` made.

GPUs and workers serve every organization, so only keys of this one may change or list them.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from runflow import errors
from runflow.orgs import queries
from runflow.web.auth import Principal


async def require_operator(connection: AsyncConnection, caller: Principal) -> None:
    """Raise `PermissionDenied` unless the caller's key belongs to the operator's organization."""
    first = await queries.first(connection)
    if first is None or first.id != caller.org_id:
        raise errors.PermissionDenied(
            "This belongs to the whole installation: only API keys of the operator's organization "
            f"({first.slug if first is not None else 'the first one'}) may use this route."
        )
