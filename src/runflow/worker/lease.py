"""What the server hands over with a lease, as values (docs/worker-api.md, `POST /v1/worker/leases`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runflow.graph import Interface


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file behind a signed URL. `sha256` is lower-case hexadecimal, or None where the server does not know it."""

    url: str
    filename: str
    size_bytes: int
    sha256: str | None

    @classmethod
    def read(cls, row: Mapping[str, Any], filename: str) -> "RemoteFile":
        """Read a value of `files`, or an element of `resources`. Raises KeyError, TypeError or ValueError."""
        sha256 = row.get("sha256")
        return cls(str(row["url"]), filename, int(row["size_bytes"]), str(sha256).lower() if sha256 else None)


@dataclass(frozen=True, slots=True)
class Resource:
    """A file of the version. `path` is its name below ComfyUI's input folder, as the prompt spells it."""

    path: str
    file: RemoteFile


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt of one run, ours until it expires.

    `prompt` is the version's, unbound. `values` is the run's `input`, validated by the server. `timeout_seconds` limits
    execution, `max_output_bytes` each output file.
    """

    id: str
    run_id: str
    attempt_number: int
    version_id: str
    fingerprint: str
    prompt: dict[str, dict[str, Any]]
    interface: Interface
    values: dict[str, Any]
    files: dict[str, RemoteFile]
    resources: tuple[Resource, ...]
    models: tuple[Resource, ...]
    """Uploaded models; each `path` is below ComfyUI's models folder."""
    timeout_seconds: float
    max_output_bytes: int
    uploads: Mapping[tuple[int, str, str], dict[str, Any]] = field(default_factory=dict)
    """Upload URLs for the outputs that we said to expect, by ordinal, file name and content type."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Lease":
        """Read the server's `lease`.

        Raises KeyError, TypeError, ValueError or `runflow.graph.GraphError` where it is not what the protocol says.
        """
        version, limits = data["version"], data["limits"]
        return cls(
            id=str(data["id"]),
            run_id=str(data["run_id"]),
            attempt_number=int(data["attempt_number"]),
            version_id=str(version["id"]),
            fingerprint=str(version["fingerprint"]),
            prompt=version["prompt"],
            interface=Interface.from_dict(version["interface"]),
            values=dict(data["input"]),
            files={name: RemoteFile.read(row, str(row["filename"])) for name, row in data.get("files", {}).items()},
            resources=tuple(
                Resource(str(row["path"]), RemoteFile.read(row, str(row["path"]))) for row in data.get("resources", ())
            ),
            models=tuple(
                Resource(str(row["path"]), RemoteFile.read(row, str(row["path"]))) for row in data.get("models", ())
            ),
            timeout_seconds=float(limits["timeout_seconds"]),
            max_output_bytes=int(limits["max_output_bytes"]),
            uploads={
                (int(row["ordinal"]), str(row["filename"]), str(row["content_type"])): row
                for row in data.get("uploads", ())
            },
        )
