"""What a workflow is for: the fixed table behind `category_code` (docs/api/workflows.md, "Creating a workflow")."""

from dataclasses import asdict, dataclass
from typing import Any

from runflow import errors
from runflow.web.auth import Principal
from runflow.web.lists import (
    FieldKind,
    ListField,
    ListQuery,
    ListSpec,
    RecordQuery,
    check_projection,
    envelope,
    project,
    read_page,
)
from runflow.web.lists.spec import fixed_table
from runflow.web.services import Services


@dataclass(frozen=True, slots=True)
class Category:
    """One row of the table, with the wire's names."""

    code: str
    name: str
    description: str
    sort_order: int


CATEGORIES: dict[str, Category] = {
    row.code: row
    for row in (
        Category("text-to-image", "Text to image", "Makes a picture from a description.", 1),
        Category("image-to-image", "Image to image", "Changes a picture as a whole: style, background, light.", 2),
        Category("inpainting", "Inpainting", "Replaces a masked part of a picture.", 3),
        Category("upscaling", "Upscaling", "Makes a picture larger or sharper.", 4),
        Category("text-to-video", "Text to video", "Makes a video from a description.", 5),
        Category("image-to-video", "Image to video", "Sets a picture in motion.", 6),
        Category("audio", "Audio", "Makes or changes sound, speech or music.", 7),
        Category("3d", "3D", "Makes or changes three-dimensional models.", 8),
        Category("other", "Other", "Anything else.", 9),
    )
}
"""Every category by its code."""


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
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, CATEGORY_LIST, query, row=Category, short=True)
    return envelope(found, [project(asdict(row), query) for row in found.rows])


def get(code: str, query: RecordQuery) -> dict[str, Any]:
    """Return one category. Raises `CategoryNotFound` or `InvalidField`."""
    check_projection(query, CATEGORY_LIST.response_fields, CATEGORY_LIST.embeds)
    if code not in CATEGORIES:
        raise errors.CategoryNotFound
    return project(asdict(CATEGORIES[code]), query)
