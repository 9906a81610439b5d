"""Reading audit events. They are written by `recorder` and never changed."""

from typing import Any

from runflow.accounts.audit.queries import AUDIT_LIST
from runflow.accounts.audit.schemas import AuditEvent
from runflow.accounts.audit.tables import AuditEventRow
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, envelope, project, read_page
from runflow.web.services import Services


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's events."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, AUDIT_LIST, query, row=AuditEventRow)
    return envelope(found, [project(_record(row), query) for row in found.rows])


def _record(row: AuditEventRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AuditEvent.model_fields}
