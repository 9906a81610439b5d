"""What the OpenAPI document of a workflow tells, read for its caller."""

from runflow import errors
from runflow.graph import is_slug
from runflow.runs.openapi.document import Described
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import public, queries


async def described(services: Services, caller: Principal, owner: str, slug: str) -> Described:
    """Return what the OpenAPI document of a live workflow tells, own or public. Raises `WorkflowNotFound`."""
    if not is_slug(owner) or not is_slug(slug):
        raise errors.WorkflowNotFound
    row: queries.DescribedWorkflow | None
    if owner == caller.org_slug:
        async with services.db.tenant(caller.org_id) as transaction:
            row = await queries.described(transaction, caller.org_id, slug)
    else:
        row = await public.described(services, (owner, slug))
    if row is None:
        raise errors.WorkflowNotFound
    return Described(owner, slug, row.name, row.description, row.version, row.interface)
