"""The query parameters of list and record routes, as FastAPI dependencies (docs/api.md, "Lists")."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from runflow.web.lists.projection import split_names
from runflow.web.parameters import OnlyKnown

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

_Filter = Annotated[
    str | None,
    Query(
        description="Filter. `field OP value` with `: = != > >= < <=`, or `field.op:value` with `eq ne gt gte lt lte "
        "in nin like ilike isnull`, joined by `AND`, `OR`, `NOT` and parentheses. Values with spaces go in quotes, "
        "lists in parentheses or brackets. A date without a time is the whole UTC day for equality and its first "
        "instant for order. A missing value equals nothing; `!=`, `nin` and `NOT` keep it.",
        examples=["status_code:succeeded AND created_at >= 2026-01-31", "slug.eq:'portrait'"],
    ),
]
_Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items of one page.")]
_SortBy = Annotated[
    str | None,
    Query(
        description="`field:asc` or `field:desc`, several separated by commas; `created_at:desc` unless the list says "
        "otherwise. The id is always the last key. Missing values count as the largest.",
        examples=["created_at:desc"],
    ),
]
_Fields = Annotated[
    str | None,
    Query(
        description="Comma list of the fields to return; all when absent. The answer then holds no others, even where "
        "its schema requires them."
    ),
]
_Embed = Annotated[str | None, Query(description="Comma list of relations to include.")]
_Cursor = Annotated[
    str | None,
    Query(
        description="Opaque cursor: `first`, `next` or `previous` of an earlier answer with the same `q` and `sort_by`."
    ),
]
_FromPrev = Annotated[
    bool,
    Query(description="Walk backwards from `pq`; without `pq`, the last page. Items keep the normal order."),
]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of one list request. Names, filter and cursor are checked by `build`, which knows the list."""

    q: str | None = None
    limit: int = DEFAULT_LIMIT
    sort_by: str | None = None
    fields: tuple[str, ...] | None = None
    pq: str | None = None
    from_prev: bool = False
    embed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """The parameters of a request for one record. Check the names with `check_projection`."""

    fields: tuple[str, ...] | None = None
    embed: tuple[str, ...] = ()


# Coroutines, though nothing is awaited: FastAPI sends a plain function through its thread pool, which costs more.
async def list_query(
    q: _Filter = None,
    limit: _Limit = DEFAULT_LIMIT,
    sort_by: _SortBy = None,
    fields: _Fields = None,
    pq: _Cursor = None,
    from_prev: _FromPrev = False,
    embed: _Embed = None,
    _: OnlyKnown = None,
) -> ListQuery:
    """Read the list parameters (FastAPI dependency); blank ones count as absent. Raises `ValidationFailed`."""
    return ListQuery(
        q=_present(q),
        limit=limit,
        sort_by=_present(sort_by),
        fields=split_names(fields),
        pq=_present(pq),
        from_prev=from_prev,
        embed=split_names(embed) or (),
    )


async def record_query(fields: _Fields = None, embed: _Embed = None, _: OnlyKnown = None) -> RecordQuery:
    """Read `fields` and `embed` of a record route (FastAPI dependency); blank ones count as absent.

    Raises `ValidationFailed` for a parameter that the route does not have.
    """
    return RecordQuery(fields=split_names(fields), embed=split_names(embed) or ())


def _present(text: str | None) -> str | None:
    return text if text and text.strip() else None
