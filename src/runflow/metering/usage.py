"""Usage of the caller's organization (docs/api/metering.md, "Usage"), grouped, paged and added up."""

from functools import lru_cache
from typing import Any

from runflow import errors
from runflow.metering import usage_queries as queries
from runflow.metering.usage_queries import Group
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, build, envelope, page, project
from runflow.web.period import Period

SUMS = ("runs", "attempts", "gpu_seconds", "billable_seconds", "cost")
KEY_FIELDS = {
    Group.DAY: ("day", FieldKind.TIMESTAMP),
    Group.WORKFLOW: ("comfyui_workflow_id", FieldKind.UUID),
    Group.API_KEY: ("api_key_id", FieldKind.UUID),
    Group.GPU: ("gpu_code", FieldKind.STRING),
}


def read_groups(text: str | None) -> tuple[Group, ...]:
    """Return the groups that `group_by` names, each once; `day` without any. Raises `ValidationFailed`."""
    names = [name.strip() for name in (text or Group.DAY).split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Group)]
    if unknown or not names:
        shown = f'"{unknown[0][:60]}" is none of them' if unknown else "it is empty"
        message = f"`group_by` takes a comma list of {', '.join(Group)}; {shown}."
        raise errors.ValidationFailed(
            message, errors=[{"loc": ["query", "group_by"], "msg": message, "type": "invalid_group"}]
        )
    return tuple(group for group in Group if group in names)


@lru_cache
def usage_list(groups: tuple[Group, ...]) -> ListSpec:
    """Return what usage in this grouping can be filtered and sorted by."""
    table = queries.grouped(groups)
    keys = tuple(
        ListField(name, table.c[name], kind, nullable=group is Group.API_KEY)
        for group, (name, kind) in KEY_FIELDS.items()
        if group in groups
    )
    sums = (
        ListField("runs", table.c.runs, FieldKind.INT),
        ListField("attempts", table.c.attempts, FieldKind.INT),
        ListField("gpu_seconds", table.c.gpu_seconds, FieldKind.DECIMAL),
        ListField("billable_seconds", table.c.billable_seconds, FieldKind.DECIMAL),
        ListField("cost", table.c.cost, FieldKind.DECIMAL),
    )
    return ListSpec(
        from_=table,
        fields=(ListField("id", table.c.id, FieldKind.STRING), *keys, *sums),
        response_fields=frozenset({"id", *(name for name, _ in KEY_FIELDS.values()), *SUMS}),
        default_sort="day:desc" if Group.DAY in groups else "cost:desc",
    )


async def usage(
    services: Services, caller: Principal, query: ListQuery, period: Period, groups: tuple[Group, ...]
) -> dict[str, Any]:
    """Return a page of usage rows, and the totals of the whole period whatever the page shows."""
    spec = usage_list(groups)
    async with services.db.tenant(caller.org_id) as connection:
        rows = await queries.rows(connection, build(spec, query), period)
        totals = await queries.totals(connection, period)
    found = page(spec, query, rows)
    items = [project(record(row._mapping, groups), query) for row in found.rows]
    whole = {"from": period.start, "to": period.end, "group_by": groups, "totals": sums(totals._mapping)}
    return envelope(found, items) | whole


def record(row: Any, groups: tuple[Group, ...]) -> dict[str, Any]:
    """Return one usage row; what was not grouped by is null."""
    keys: dict[str, Any] = {name: row[name] if group in groups else None for group, (name, _) in KEY_FIELDS.items()}
    if keys["day"] is not None:
        keys["day"] = keys["day"].date()
    return {"id": row["id"], **keys, **sums(row)}


def sums(row: Any) -> dict[str, Any]:
    """Return the sums of a row: seconds as numbers, money as it is."""
    seconds = {name: float(row[name]) for name in ("gpu_seconds", "billable_seconds")}
    return {name: seconds.get(name, row[name]) for name in SUMS}
