"""Rules of organizations."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.keys import service as keys
from runflow.accounts.keys.scopes import tenant_scopes
from runflow.accounts.organizations import queries
from runflow.accounts.organizations.limits import require_place_for_organization
from runflow.accounts.organizations.queries import ORGANIZATION_LIST
from runflow.accounts.organizations.schemas import OWNER, CreateOrganization, Organization, PatchOrganization
from runflow.accounts.organizations.tables import OrganizationRow
from runflow.db.notifications import announce
from runflow.db.transaction import Transaction, Violation
from runflow.graph.slug import SlugError
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services

FIRST_KEY = "first key"
ONLY_OPERATOR = (
    "Only API keys of the operator's organization, the first one of this installation, make organizations: ask the "
    "operator for one."
)


async def create_for(services: Services, caller: Principal, body: CreateOrganization) -> dict[str, Any]:
    """Make an organization with a first key, which holds the scopes, the end and the rate limit of the caller's.

    Of the scopes it gets no `OPERATOR_SCOPES`. Raises `PermissionDenied` for a caller of another organization than the
    operator's, `Conflict` when the slug is taken, `ValidationFailed` when the name gives none, `LimitReached` when the
    installation takes no more.
    """
    try:
        slug = body.slug or OWNER.derived(body.name)
    except SlugError as error:
        raise errors.ValidationFailed(
            str(error), errors=[{"loc": ["body", "slug"], "msg": str(error), "type": "slug"}]
        ) from None
    org_id = new_id()
    try:
        async with services.db.tenant(caller.org_id) as transaction:
            if not await queries.is_operator(transaction):
                raise errors.PermissionDenied(ONLY_OPERATOR)
            await require_place_for_organization(transaction, services.settings)
            row = await queries.make(transaction, org_id=org_id, slug=slug, name=body.name)
            key = await keys.create(
                transaction,
                org_id=org_id,
                name=FIRST_KEY,
                scopes=tenant_scopes(sorted(caller.scopes)),
                expires_at=caller.expires_at,
                created_by=caller.key_id,
                rate_limit_per_second=caller.rate_limit,
            )
            # Back to the caller, for its audit event and for an enclosing unit of work.
            await queries.act_as(transaction, caller.org_id)
            details = {"slug": slug, "name": body.name, "api_key_id": str(key["id"])}
            await recorder.record(transaction, caller, "organization.created", "organization", org_id, details)
    except Violation:
        raise errors.Conflict(
            f"There is an organization with the slug {slug!r} already. Choose another slug."
        ) from None
    services.hub.publish("eligibility")  # with others there, some workers serve the operator only
    return {**record(row), "api_key": key}


async def list_own(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return the page that holds the caller's organization: a key belongs to one."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, ORGANIZATION_LIST, query, row=OrganizationRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def get(services: Services, caller: Principal, org_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return the caller's organization. Raises `OrganizationNotFound` for any other, and `InvalidField`."""
    check_projection(query, ORGANIZATION_LIST.response_fields, ORGANIZATION_LIST.embeds)
    require_own(caller, org_id)
    async with services.db.tenant(caller.org_id) as transaction:
        return project(record(await queries.own(transaction)), query)


async def change(services: Services, caller: Principal, org_id: UUID, body: PatchOrganization) -> dict[str, Any]:
    """Change the caller's organization. Raises `OrganizationNotFound` for any other."""
    require_own(caller, org_id)
    values = body.model_dump(exclude_unset=True, exclude_none=True)
    async with services.db.tenant(caller.org_id) as transaction:
        if not values:
            return record(await queries.own(transaction))
        row = await queries.change(transaction, values)
        await recorder.record(
            transaction, caller, "organization.updated", "organization", org_id, {"changed": sorted(values)}
        )
    return record(row)


async def create_by_operator(transaction: Transaction, *, slug: str, name: str, scopes: list[str]) -> dict[str, Any]:
    """Make an organization with a first key, as the system role. Raises `Violation` when the slug is taken.

    Only the installation's first organization gets all of `scopes`; the others none of `OPERATOR_SCOPES`.
    """
    org_id = new_id()
    if await queries.first(transaction) is not None:
        scopes = tenant_scopes(scopes)
    row = await queries.add(transaction, org_id=org_id, slug=slug, name=name)
    key = await keys.create(transaction, org_id=org_id, name=FIRST_KEY, scopes=scopes)
    await recorder.record_operator(
        transaction, org_id, "organization.created", "organization", org_id, {"slug": slug, "name": name}
    )
    await announce(transaction, "eligibility")  # with others there, some workers serve the operator only
    return {**record(row), "api_key": key}


def require_own(caller: Principal, org_id: UUID) -> None:
    """Raise `OrganizationNotFound` unless this is the caller's organization."""
    if org_id != caller.org_id:
        raise errors.OrganizationNotFound


def record(row: OrganizationRow) -> dict[str, Any]:
    """Return an organization as the wire shows it."""
    return {name: getattr(row, name) for name in Organization.model_fields}
