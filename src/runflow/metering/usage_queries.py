"""SQL of usage, grouped by the caller's choice: what attempts used and cost. Reads only `usage_records_sums`."""

from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Row,
    Select,
    String,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.metering.tables import usage_records as u
from runflow.web.period import Period

_TIME = DateTime(timezone=True)


class Group(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    WORKFLOW = "workflow"
    API_KEY = "api_key"
    GPU = "gpu"


KEYS: dict[Group, ColumnElement[Any]] = {
    Group.DAY: func.date_trunc("day", u.c.created_at, "UTC", type_=_TIME).label("day"),
    Group.WORKFLOW: u.c.comfyui_workflow_id.label("comfyui_workflow_id"),
    Group.API_KEY: u.c.api_key_id.label("api_key_id"),
    Group.GPU: u.c.gpu_code.label("gpu_code"),
}
"""The column of each grouping, under its name in the answer."""

_SUMS: tuple[ColumnElement[Any], ...] = (
    func.count().filter(u.c.is_first).label("runs"),
    func.count().label("attempts"),
    func.coalesce(func.sum(u.c.gpu_seconds), 0).label("gpu_seconds"),
    func.coalesce(func.sum(u.c.billable_seconds), 0).label("billable_seconds"),
    func.coalesce(func.sum(u.c.cost), 0).label("cost"),
)
_IN_PERIOD = (u.c.created_at >= bindparam("start", type_=_TIME)) & (u.c.created_at < bindparam("end", type_=_TIME))


@lru_cache
def grouped(groups: tuple[Group, ...]) -> Subquery:
    """Return usage by these groups as a table with a unique text `id`; its parameters are `start` and `end`."""
    keys = [KEYS[group] for group in groups]
    parts = [func.coalesce(cast(key.element, Text), "-") for key in keys]
    row_id = func.concat_ws(literal(" ", String), *parts).label("id")
    statement = select(row_id, *keys, *_SUMS).where(_IN_PERIOD)
    return statement.group_by(*(key.element for key in keys)).subquery("usage")


async def rows(connection: AsyncConnection, statement: Select[Any], period: Period) -> list[Row[Any]]:
    """Run a statement over `grouped` for this period."""
    return list(await connection.execute(statement, {"start": period.start, "end": period.end}))


async def totals(connection: AsyncConnection, period: Period) -> Row[Any]:
    """Return the sums over the whole period."""
    statement = select(*_SUMS).where(_IN_PERIOD)
    return (await connection.execute(statement, {"start": period.start, "end": period.end})).one()
