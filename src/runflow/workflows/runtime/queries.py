"""SQL of what decides which workers may run a version, beside the version's own documents."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from runflow.db.transaction import Transaction

_INSTALLATION = """
    SELECT (SELECT id FROM organizations ORDER BY created_at, id LIMIT 1) AS operator,
           (SELECT count(*) > 1 FROM (SELECT FROM organizations LIMIT 2) AS two) AS several
"""

_LABELS = "SELECT id AS workflow_id, worker_labels FROM workflows WHERE worker_labels IS NOT NULL"

_UPLOADS = "SELECT org_id, sha256 FROM models WHERE sha256 = ANY(%(hashes)s)"


@dataclass(frozen=True, slots=True)
class InstallationRow:
    """Whose installation it is, and whether there are organizations beside the operator's."""

    operator: UUID | None
    several: bool


@dataclass(frozen=True, slots=True)
class LabelledWorkflow:
    """A workflow that asks for labels."""

    workflow_id: UUID
    worker_labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class UploadedModel:
    """A model that an organization has uploaded."""

    org_id: UUID
    sha256: str


async def installation(transaction: Transaction) -> InstallationRow:
    """Return whose installation it is."""
    return await transaction.one(_INSTALLATION, row=InstallationRow)


async def labels(transaction: Transaction) -> list[LabelledWorkflow]:
    """Return the workflows that ask for labels."""
    return await transaction.rows(_LABELS, row=LabelledWorkflow)


async def uploads(transaction: Transaction, hashes: Collection[str]) -> list[UploadedModel]:
    """Return which organizations have uploaded models of these contents."""
    return await transaction.rows(_UPLOADS, {"hashes": list(hashes)}, row=UploadedModel)
