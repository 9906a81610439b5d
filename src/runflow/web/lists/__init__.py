"""The one list engine: filter `q`, order `sort_by`, keyset cursors `pq`, projection `fields` and `embed`.

A list route takes `Depends(list_query)`, its service calls `read_page` with the noun's `ListSpec`, its serialized rows
go through `project`, and the answer is `envelope(page, items)` (docs/api.md, "Lists").
"""

from runflow.web.lists.pages import ListEnvelope, Page, bounded, build, envelope, page, read_page
from runflow.web.lists.projection import check_projection, project
from runflow.web.lists.query import ListQuery, RecordQuery, list_query, record_query
from runflow.web.lists.spec import FieldKind, ListField, ListSpec

__all__ = [
    "FieldKind",
    "ListEnvelope",
    "ListField",
    "ListQuery",
    "ListSpec",
    "Page",
    "RecordQuery",
    "bounded",
    "build",
    "check_projection",
    "envelope",
    "list_query",
    "page",
    "project",
    "read_page",
    "record_query",
]
