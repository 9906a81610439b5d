"""The list of categories, over the fixed table in `categories.py`."""

from dataclasses import asdict
from typing import Any

from runflow import errors
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import (
    FieldKind,
    ListField,
    ListQuery,
    ListSpec,
    RecordQuery,
    build,
    check_projection,
    envelope,
    page,
    project,
)
from runflow.web.lists.fixed import fixed_table
from runflow.workflows import queries
from runflow.workflows.categories import CATEGORIES

_TABLE = fixed_table(
    "categories",
    {"code": str, "name": str, "description": str, "sort_order": int},
    [asdict(row) for row in CATEGORIES.values()],
)

CATEGORY_LIST = ListSpec(
    from_=_TABLE,
    fields=(
        ListField("code", _TABLE.c.code, FieldKind.STRING),
        ListField("name", _TABLE.c.name, FieldKind.STRING),
        ListField("description", _TABLE.c.description, FieldKind.STRING),
        ListField("sort_order", _TABLE.c.sort_order, FieldKind.INT),
    ),
    response_fields=frozenset({"code", "name", "description", "sort_order"}),
    id_field="code",
    default_sort="sort_order:asc",
)


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of categories. Raises InvalidFilter, InvalidSort, InvalidCursor or InvalidField."""
    async with services.db.tenant(caller.org_id) as connection:
        found = page(CATEGORY_LIST, query, await queries.rows(connection, build(CATEGORY_LIST, query)))
    return envelope(found, [project(asdict(CATEGORIES[row.code]), query) for row in found.rows])


def get(code: str, query: RecordQuery) -> dict[str, Any]:
    """Return one category. Raises `CategoryNotFound` or `InvalidField`."""
    check_projection(query, CATEGORY_LIST.response_fields, CATEGORY_LIST.embeds)
    if code not in CATEGORIES:
        raise errors.CategoryNotFound
    return project(asdict(CATEGORIES[code]), query)
