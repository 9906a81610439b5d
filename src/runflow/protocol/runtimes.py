"""What is built for a version that no installed ComfyUI has everything for, and how that went."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from annotated_types import MaxLen

from runflow.protocol.bounds import CutTo, Milliseconds, Sentence, Short, Storable

MOST_SOURCES = 500
MAX_BUILD_LOG = 64 * 1024
"""Longest end of a build's log, in characters."""


class Builds(StrEnum):
    """Whether a worker builds runtimes for versions whose node classes its own ComfyUI lacks."""

    OFF = "off"
    APPROVED = "approved"
    """Of sources that the operator has approved."""
    ON = "on"
    """Of whatever a version names: the operator trusts all who may deploy."""


@dataclass(frozen=True, slots=True)
class SourceCommit:
    """A repository at a commit."""

    origin: Annotated[str, MaxLen(1000), Storable()]
    commit: Annotated[str, MaxLen(64), Storable()]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """The worker's own ComfyUI lacks something of the version: build, or use, the runtime of its fingerprint."""

    approved: Annotated[list[SourceCommit], MaxLen(MOST_SOURCES)] | None = field(
        default=None,
        metadata={"description": "The sources that may be fetched for it; null: any, for the worker builds all."},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """How the build of a runtime went."""

    fingerprint: Short
    runtime: Short | None = field(
        default=None, metadata={"description": "What the worker calls the runtime, by what it is made of."}
    )
    succeeded: bool
    is_permanent: bool = field(
        default=False, metadata={"description": "It failed, and would again: for no trouble that may pass."}
    )
    elapsed_ms: Milliseconds = 0
    step: Short | None = field(default=None, metadata={"description": "Where it failed."})
    pack: Short | None = field(default=None, metadata={"description": "The node pack whose fault that is."})
    message: Sentence | None = None
    log: Annotated[str, Storable(), CutTo(MAX_BUILD_LOG)] = field(
        default="", metadata={"description": "The end of what was said meanwhile."}
    )
    waits_for: SourceCommit | None = field(
        default=None, metadata={"description": "A source that has to be approved before it is fetched."}
    )
