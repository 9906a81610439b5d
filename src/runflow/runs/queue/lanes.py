"""The identity of a lane."""

from uuid import UUID, uuid5

_NAMESPACE = UUID("6b1e6d0e-7d3f-5c0a-9a53-1f0c2f4f7f10")


def lane_id(org_id: UUID, version_id: UUID, gpu_class: str) -> UUID:
    """Return the id of the lane of (organization, version, GPU class): the same on every process, without a look-up."""
    return uuid5(_NAMESPACE, f"{org_id}/{version_id}/{gpu_class}")
