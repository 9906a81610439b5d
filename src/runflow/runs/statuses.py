"""What `status_code` of runs and batches may be (docs/api/runs.md, "Reading"): reference data, as a list."""

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, Field

from runflow.web.auth import Principal
from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, envelope, project, read_page
from runflow.web.lists.spec import fixed_table
from runflow.web.services import Services


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One status."""

    code: str
    name: str
    description: str
    is_terminal: bool
    is_batch_only: bool
    sort_order: int


STATUSES = {
    status.code: status
    for status in (
        RunStatus("queued", "Queued", "Accepted; waits for a worker.", False, False, 1),
        RunStatus("dispatching", "Dispatching", "A worker has it and prepares its files.", False, False, 2),
        RunStatus("running", "Running", "ComfyUI executes it.", False, False, 3),
        RunStatus("succeeded", "Succeeded", "Every declared output is stored.", True, False, 4),
        RunStatus("partial_succeeded", "Partially succeeded", "Some items succeeded, others not.", True, True, 5),
        RunStatus("failed", "Failed", "It ended without its outputs; the record says why.", True, False, 6),
        RunStatus("cancelled", "Cancelled", "Someone stopped it.", True, False, 7),
    )
}


class Status(BaseModel):
    """One value of `status_code`."""

    code: str
    name: str
    description: str
    is_terminal: bool = Field(description="Whether it never changes again.")
    is_batch_only: bool = Field(description="Whether only batches have it.")
    sort_order: int


_TABLE = fixed_table(
    "statuses",
    dict(RunStatus.__annotations__),
    [asdict(status) for status in STATUSES.values()],
)

STATUS_LIST = ListSpec(
    from_=_TABLE,
    fields=(
        ListField("code", _TABLE.c.code, FieldKind.STRING),
        ListField("name", _TABLE.c.name, FieldKind.STRING),
        ListField("description", _TABLE.c.description, FieldKind.STRING),
        ListField("is_terminal", _TABLE.c.is_terminal, FieldKind.BOOL),
        ListField("is_batch_only", _TABLE.c.is_batch_only, FieldKind.BOOL),
        ListField("sort_order", _TABLE.c.sort_order, FieldKind.INT),
    ),
    response_fields=frozenset(Status.model_fields),
    id_field="code",
    default_sort="sort_order:asc",
)


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of statuses."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, STATUS_LIST, query, row=RunStatus, short=True)
    return envelope(found, [project(asdict(status), query) for status in found.rows])
