"""The files that a run makes: what they are called, where they go, and what is said of them in the end."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Lt, MaxLen, MinLen

from runflow.protocol.bounds import Bytes, Short
from runflow.protocol.workers import LeaseCall

MAX_OUTPUTS = 10_000
MAX_FILES = 1000
"""Upload URLs in one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputName:
    """Where a file stands among a run's outputs, and what it is called."""

    ordinal: Annotated[int, Ge(0), Lt(10_000)]
    filename: Annotated[Short, MinLen(1)]
    content_type: Annotated[Short, MinLen(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile(OutputName):
    """A file that the worker wants to upload; without a size, one that it only expects."""

    size_bytes: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads(LeaseCall):
    """A worker asks for signed upload URLs."""

    files: Annotated[list[OutputFile], MinLen(1), MaxLen(MAX_FILES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Where one output goes."""

    ordinal: int
    object_key: str
    url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedUpload(Upload):
    """Where an output goes that the worker said to expect."""

    filename: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadsAnswer:
    """Signed URLs, one per file."""

    uploads: list[Upload] = field(default_factory=list)
