"""Statuses, and the classes of evaluations with their prices."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runflow.evaluations.schemas import JobClass, StatusRecord
from runflow.settings import Settings
from runflow.web.auth import Principal
from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, envelope, project, read_page
from runflow.web.lists.spec import fixed_table
from runflow.web.services import Services

STANDARD = "standard"
"""The one class: every judge that this installation has."""

_STATUSES = {
    code: {"code": code, "description": text, "is_terminal": is_terminal, "sort_order": number}
    for number, (code, text, is_terminal) in enumerate(
        (
            ("pending", "It waits to be judged.", False),
            ("running", "It is being judged.", False),
            ("completed", "The verdict is there.", True),
            ("failed", "It came to no verdict; its `failure_message` says why.", True),
        ),
        start=1,
    )
}
_CLASSES = {
    STANDARD: {
        "code": STANDARD,
        "name": "Standard",
        "description": "Every judge of this installation looks at the image once.",
        "currency": "USD",
    }
}
_STATUS_TABLE = fixed_table(
    "statuses", {"code": str, "description": str, "is_terminal": bool, "sort_order": int}, list(_STATUSES.values())
)
_CLASS_TABLE = fixed_table(
    "classes", {"code": str, "name": str, "description": str, "currency": str}, list(_CLASSES.values())
)
STATUS_LIST = ListSpec(
    from_=_STATUS_TABLE,
    fields=(
        ListField("code", _STATUS_TABLE.c.code, FieldKind.STRING),
        ListField("description", _STATUS_TABLE.c.description, FieldKind.STRING),
        ListField("is_terminal", _STATUS_TABLE.c.is_terminal, FieldKind.BOOL),
        ListField("sort_order", _STATUS_TABLE.c.sort_order, FieldKind.INT),
    ),
    response_fields=frozenset(StatusRecord.model_fields),
    id_field="code",
    default_sort="sort_order:asc",
)
CLASS_LIST = ListSpec(
    from_=_CLASS_TABLE,
    fields=tuple(
        ListField(name, _CLASS_TABLE.c[name], FieldKind.STRING) for name in ("code", "name", "description", "currency")
    ),
    response_fields=frozenset(JobClass.model_fields),
    id_field="code",
    default_sort="code:asc",
)


@dataclass(frozen=True, slots=True)
class StatusRow:
    """A row of the list of statuses."""

    code: str
    description: str
    is_terminal: bool
    sort_order: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A row of the list of classes."""

    code: str
    name: str
    description: str
    currency: str


def price_of(settings: Settings, job_class: str) -> Decimal:
    """Return the price of an evaluation of this class, in USD."""
    return {STANDARD: settings.evaluation_price}[job_class]


async def list_statuses(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of statuses."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, STATUS_LIST, query, row=StatusRow, short=True)
    return envelope(found, [project(_STATUSES[row.code], query) for row in found.rows])


async def list_job_classes(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of job classes with their prices."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, CLASS_LIST, query, row=ClassRow, short=True)
    settings = services.settings
    records = [{**_CLASSES[row.code], "price": price_of(settings, row.code)} for row in found.rows]
    return envelope(found, [project(record, query) for record in records])
