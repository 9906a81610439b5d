"""What the Worker API answers, for the OpenAPI document (docs/worker-api.md)."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from runflow.web.responses import Timestamp


class Registered(BaseModel):
    """The server knows this worker."""

    worker_id: UUID
    lease_seconds: int = Field(description="A lease that is not renewed for so long is lost.")
    offer_seconds: int = Field(description="The first heartbeat of a lease must come within this time.")
    poll_seconds: int = Field(description="How long to wait in one request for work.")


class LeasedVersion(BaseModel):
    """The version that a run is pinned to."""

    id: UUID
    number: int
    fingerprint: str
    prompt: dict[str, Any]
    interface: dict[str, Any]
    manifest: dict[str, Any]


class LeasedFile(BaseModel):
    """A file input: where it is fetched, and what it must be."""

    url: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None


class LeasedResource(BaseModel):
    """A file of the version, with its place below the input folder."""

    path: str
    url: str
    size_bytes: int
    sha256: str | None


class LeasedModel(BaseModel):
    """A model of the version that its organization has uploaded. Only an owned engine's worker places it."""

    path: str = Field(description="Its place below ComfyUI's `models/`.", examples=["checkpoints/mine.safetensors"])
    url: str
    size_bytes: int
    sha256: str


class Limits(BaseModel):
    """What this run may use."""

    timeout_seconds: int
    max_output_bytes: int


class Upload(BaseModel):
    """Where one output goes."""

    ordinal: int
    object_key: str
    url: str
    method: Literal["PUT"]
    headers: dict[str, str]


class ExpectedUpload(Upload):
    """Where an output goes that the worker said to expect."""

    filename: str
    content_type: str


class Lease(BaseModel):
    """One attempt of one run."""

    id: UUID
    run_id: UUID
    attempt_number: int
    expires_at: Timestamp
    version: LeasedVersion
    input: dict[str, Any]
    files: dict[str, LeasedFile] = Field(description="By reference, `runflow://assets/…`.")
    resources: list[LeasedResource]
    models: list[LeasedModel]
    uploads: list[ExpectedUpload] = Field(description="For the outputs that the request said to expect.")
    limits: Limits


class LeaseAnswer(BaseModel):
    """A lease, or null when there was no work."""

    lease: Lease | None


class HeartbeatAnswer(BaseModel):
    """The lease is renewed."""

    expires_at: Timestamp
    cancel: bool = Field(description="Stop exactly this prompt, then complete with `cancelled`.")


class UploadsAnswer(BaseModel):
    """Signed URLs, one per file."""

    uploads: list[Upload]


class CompletionAnswer(BaseModel):
    """The attempt is over."""

    run_id: UUID
    status_code: str = Field(description="The run's: `queued` where another attempt follows.")
