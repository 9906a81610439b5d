"""Reading audit events. They are written by `recorder` and never changed."""

from typing import Any

from runflow.accounts.audit.queries import AUDIT_LIST
from runflow.accounts.audit.schemas import AuditEvent
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, bounded, envelope, page, project
from runflow.web.services import Services


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's events."""
    async with services.db.tenant(caller.org_id) as connection:
        rows = list(await connection.execute(await bounded(connection, AUDIT_LIST, query)))
    found = page(AUDIT_LIST, query, rows)
    return envelope(found, [project(_record(row), query) for row in found.rows])


def _record(row: Any) -> dict[str, Any]:
    return {name: row._mapping[name] for name in AuditEvent.model_fields}
