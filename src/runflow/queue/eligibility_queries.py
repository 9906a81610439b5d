"""SQL of what a lane's runs are of: what decides about them is of versions and workflows (`workflows/runtime`)."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from runflow.db.transaction import Transaction

_LANE_VERSIONS = """
    SELECT l.id AS lane_id, l.version_id, v.workflow_id
    FROM lanes l JOIN workflow_versions v ON v.id = l.version_id WHERE l.id = ANY(%(lanes)s)
"""


@dataclass(frozen=True, slots=True)
class LaneVersion:
    """What a lane's runs are of; it never changes."""

    lane_id: UUID
    version_id: UUID
    workflow_id: UUID


async def lane_versions(transaction: Transaction, lanes: Collection[UUID]) -> list[LaneVersion]:
    """Return what the runs of these lanes are of."""
    return await transaction.rows(_LANE_VERSIONS, {"lanes": list(lanes)}, row=LaneVersion)
