"""What a run delivered, as the wire shows it (docs/api/runs.md, "Output files")."""

from collections.abc import Iterable, Mapping
from typing import Any

from runflow.services import Services

KIND = "comfyui_outputs"


def output_document(
    services: Services, base_url: str, outputs: Iterable[Mapping[str, Any]], *, seconds: int
) -> dict[str, Any]:
    """Return `output` of a succeeded run: one element per file, each with a signed URL that lives `seconds`."""
    return {
        "kind": KIND,
        "outputs": [
            {
                "output_id": output["output_id"],
                "url": services.storage.download_url(
                    base_url,
                    output["object_key"],
                    filename=output["filename"],
                    content_type=output["content_type"],
                    seconds=seconds,
                ),
                "content_type": output["content_type"],
                "size_bytes": output["size_bytes"],
                "filename": output["filename"],
                "sha256": output["sha256"],
                "width": output["width"],
                "height": output["height"],
                "node_id": output["node_id"],
            }
            for output in outputs
        ],
    }


def error_document(code: str | None, message: str | None, details: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return `error` of a failed run: `{code, message, node_id, node_type, details}`; None for any other run."""
    if code is None:
        return None
    known = details or {}
    return {
        "code": code,
        "message": message,
        "node_id": known.get("node_id"),
        "node_type": known.get("node_type"),
        "details": known.get("details"),
    }
