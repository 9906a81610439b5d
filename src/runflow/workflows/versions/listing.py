"""What lists of versions can be filtered and sorted by, and how a version is written."""

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row

from runflow import errors
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workflows.documents import fragment
from runflow.workflows.record import version_record
from runflow.workflows.tables import workflow_versions
from runflow.workflows.versions.queries import TEXTS
from runflow.workflows.versions.schemas import WholeVersion

VERSION_LIST = ListSpec(
    from_=workflow_versions,
    fields=(
        ListField("id", workflow_versions.c.id, FieldKind.UUID),
        ListField("version", workflow_versions.c.number, FieldKind.INT),
        ListField("fingerprint", workflow_versions.c.fingerprint, FieldKind.STRING),
        ListField("created_by", workflow_versions.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", workflow_versions.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(WholeVersion.model_fields),
    # Times are those at which the changes began; the numbers are the order in which they came to be.
    default_sort="version:desc",
)

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def number_of(version: str) -> int:
    """Return the number that a version's name is. Raises `WorkflowVersionNotFound` where it cannot be one."""
    if not _NUMBER.fullmatch(version):
        raise errors.WorkflowVersionNotFound(
            f'There is no version "{version[:20]}": versions are numbered "1", "2" and so on.'
        )
    return int(version)


def record(row: Row[Any], texts: Collection[str]) -> dict[str, Any]:
    """Return a version as the wire shows it, with these of its documents."""
    values = row._mapping
    own = version_record(row, is_current=row.is_current)
    return own | {name: fragment(values[name]) for name in TEXTS if name in texts}
