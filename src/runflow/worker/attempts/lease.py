"""What the server hands over with a lease, as values (docs/worker-api.md, `POST /v1/worker/leases`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from runflow.graph import Interface
from runflow.protocol import leases
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.protocol.codec import from_wire
from runflow.protocol.outputs import ExpectedUpload
from runflow.protocol.runtimes import BuildOrder


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file behind a signed URL. `sha256` is lower-case hexadecimal, or None where the server does not know it."""

    url: str
    filename: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Resource:
    """A file of the version. `path` is its name below ComfyUI's input folder, as the prompt spells it."""

    path: str
    file: RemoteFile


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the version. `path` is its name below ComfyUI's models folder; `sha256` as in `RemoteFile`.

    `url`: where it is fetched, None: nowhere. `is_upload`: from the server, else from an address that a stranger wrote.
    `title`: what it is called in sentences, None: by its path.
    """

    path: str
    url: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    is_upload: bool = True
    title: str | None = None

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return self.title or self.path


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt of one run, ours until it expires.

    `prompt` is the version's, unbound. `values` is the run's `input`, validated by the server. `timeout_seconds` limits
    execution, `max_output_bytes` each output file.
    """

    id: str
    run_id: str
    domain: str
    """Whose run it is: its organization's id."""
    attempt_number: int
    version_id: UUID
    fingerprint: str
    models_key: str
    """Names the version's large models together; empty where it has none."""
    prompt: dict[str, dict[str, Any]]
    interface: Interface
    values: dict[str, Any]
    files: dict[str, RemoteFile]
    resources: tuple[Resource, ...]
    models: tuple[Model, ...]
    timeout_seconds: float
    max_output_bytes: int
    cached: tuple[LeasedCachedFile, ...] = ()
    """What it takes from caches of libraries."""
    inline_bytes: int = 0
    """Outputs of so many bytes in all come with the completion."""
    tracebacks: bool = False
    """The run's log may show where in a node it failed."""
    build: BuildOrder | None = None
    """It is executed in a runtime of its own; None: in the worker's own ComfyUI."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What the version's author had, as it was sent: `environment` and `custom_nodes` name what it is built of."""
    uploads: Mapping[tuple[int, str, str], ExpectedUpload] = field(default_factory=dict)
    """Upload URLs for the outputs that we said to expect, by ordinal, file name and content type."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Lease":
        """Read the server's `lease`.

        Raises KeyError, TypeError, ValueError or `runflow.graph.GraphError` where it is not what the protocol says.
        """
        lease = from_wire(leases.Lease, data)
        return cls(
            id=str(lease.id),
            run_id=str(lease.run_id),
            domain=lease.domain,
            attempt_number=lease.attempt_number,
            version_id=lease.version.id,
            fingerprint=lease.version.fingerprint,
            models_key=lease.version.models_key,
            prompt=lease.version.prompt,
            interface=Interface.from_dict(lease.version.interface),
            values=lease.input,
            files={name: _remote(file, file.filename) for name, file in lease.files.items()},
            resources=tuple(Resource(one.path, _remote(one, one.path)) for one in lease.resources),
            models=models_of(lease.models),
            cached=tuple(lease.cached),
            timeout_seconds=lease.limits.timeout_seconds,
            max_output_bytes=lease.limits.max_output_bytes,
            inline_bytes=lease.limits.inline_bytes,
            tracebacks=lease.tracebacks,
            build=lease.version.build,
            manifest=lease.version.manifest,
            uploads={(one.ordinal, one.filename, one.content_type): one for one in lease.uploads},
        )


def models_of(leased: Iterable[leases.LeasedModel]) -> tuple[Model, ...]:
    """Return the models that the server names, as values."""
    return tuple(Model(one.path, one.url, one.size_bytes, _plain(one.sha256), one.is_upload) for one in leased)


def _remote(file: leases.LeasedFile | leases.LeasedResource, filename: str) -> RemoteFile:
    return RemoteFile(file.url, filename, file.size_bytes, _plain(file.sha256))


def _plain(sha256: str | None) -> str | None:
    return sha256.lower() if sha256 else None
