"""Models and upload sessions as the API shows them."""

from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping

from runflow.models.parts import CHUNK_BYTES, STALE_SECONDS
from runflow.models.schemas import ModelRecord

_SHOWN = tuple(ModelRecord.model_fields)


def model_record(model: RowMapping) -> dict[str, Any]:
    """Return a model's record."""
    return {name: model[name] for name in _SHOWN}


def upload_record(session: RowMapping) -> dict[str, Any]:
    """Return an open session's record."""
    return {
        "id": session["id"],
        "sha256": session["sha256"],
        "size_bytes": session["size_bytes"],
        "filename": session["filename"],
        "offset": session["received_bytes"],
        "chunk_bytes": CHUNK_BYTES,
        "created_at": session["created_at"],
        "expires_at": session["updated_at"] + timedelta(seconds=STALE_SECONDS),
    }
