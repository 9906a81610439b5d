"""What `status_code` of runs and batches may be (docs/api/runs.md, "Reading"): reference data, as a list."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, Field

from runflow.errors import InvalidFilter
from runflow.web.auth import Principal
from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, envelope, project, read_page
from runflow.web.lists.projection import split_names
from runflow.web.lists.spec import fixed_table
from runflow.web.lists.values import spelled
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


OF_RUNS = tuple(status.code for status in STATUSES.values() if not status.is_batch_only)
"""The statuses that a run may have."""


def wanted_statuses(parameters: Mapping[str, str | None]) -> frozenset[str] | None:
    """Return the statuses that a list of runs is narrowed to by its query parameters; None for all of them.

    Raises `InvalidFilter`, naming the parameter, for what is no status of a run.
    """
    wanted: frozenset[str] | None = None
    for name, text in parameters.items():
        codes = split_names(text)
        if codes is None:
            continue
        found = frozenset(map(spelled, codes))
        if unknown := sorted(found.difference(OF_RUNS)):
            message = f'"{unknown[0][:60]}" is no status of a run; expected one of {", ".join(OF_RUNS)}.'
            raise InvalidFilter(message, errors=[{"loc": ["query", name], "msg": message, "type": "invalid_filter"}])
        wanted = found if wanted is None else wanted & found
    return wanted


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
