"""Shapes of examples and golden runs on the wire (docs/api/workflows.md, "Golden runs")."""

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt
from pydantic_core import PydanticCustomError

from runflow.web.responses import Timestamp
from runflow.workflows.fields import VersionNumber

MOST_EXAMPLES = 20
"""Examples that a workflow keeps at most: each golden run executes them all."""
MAX_EXAMPLE_BYTES = 256 * 1024
"""Longest `input` of an example, in bytes of JSON."""
DEFAULT_SECONDS = 3600
MAX_SECONDS = 7 * 86400
"""Time limit of a golden run in seconds, waiting for a worker included."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""How an example may be called: it stands in an address."""


def example_name(name: str) -> str:
    """Return a name that an example may have. Raises Pydantic's error for another one."""
    if not NAME.fullmatch(name):
        raise PydanticCustomError(
            "example_name", 'Name it with 1 to 64 characters of A-Z a-z 0-9 _ . -, such as "two-people"'
        )
    return name


ExampleName = Annotated[str, AfterValidator(example_name)]
Evaluate = Annotated[
    StrictBool, Field(description="Its image outputs are evaluated in a golden run, and each has to pass.")
]


class Options(BaseModel):
    """What a golden run asks for beside that every example succeeds."""

    model_config = ConfigDict(extra="forbid")

    evaluate: Annotated[
        StrictBool, Field(description="The image outputs of every example are evaluated, and each has to pass.")
    ] = False
    timeout_seconds: Annotated[
        StrictInt, Field(ge=1, le=MAX_SECONDS, description="It fails after so long, waiting for a worker included.")
    ] = DEFAULT_SECONDS


class NewGoldenRun(Options):
    """A golden run of a version that does not serve."""

    version: VersionNumber


class SentExample(BaseModel):
    """An example that comes with a deployment."""

    model_config = ConfigDict(extra="forbid")

    name: ExampleName
    input: dict[str, Any]
    evaluate: Evaluate = False


class KeepExample(BaseModel):
    """What an example holds: an `input` as a dispatch takes it, or that of a run."""

    model_config = ConfigDict(extra="forbid")

    name: ExampleName
    input: Annotated[dict[str, Any] | None, Field(description="As a dispatch takes it.")] = None
    run_id: Annotated[UUID | None, Field(description="Keep the input of this run of the workflow.")] = None
    version: Annotated[
        VersionNumber | None, Field(description="Check it against this version. Default: the current one.")
    ] = None
    evaluate: Evaluate = False


class Example(BaseModel):
    """An input that a workflow keeps to test new versions with."""

    id: UUID
    comfyui_workflow_id: UUID
    name: str = Field(examples=["two-people"])
    input: dict[str, Any]
    evaluate: bool
    run_id: UUID | None = Field(description="The run that it was kept from.")
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class Reason(BaseModel):
    """Why a golden run ended as it did."""

    code: str = Field(examples=["EXECUTION_FAILED"])
    message: str
    example: str | None = Field(description="Name of the example.")
    run_id: UUID | None


class GoldenExample(BaseModel):
    """An example of a golden run and what became of it."""

    name: str
    evaluate: bool
    run_id: UUID | None = Field(description="Null until it is dispatched.")
    status_code: str | None = Field(description="Status of the run.")
    failure_code: str | None
    failure_message: str | None


class GoldenRun(BaseModel):
    """A version being tested with the examples before it serves."""

    id: UUID
    comfyui_workflow_id: UUID
    version: str = Field(description="The version that is tested.", examples=["4"])
    status_code: str = Field(description="`running`, `passed`, `failed`, `cancelled` or `superseded`.")
    reasons: list[Reason] = Field(description="Why it did not pass.")
    created_by: UUID
    created_at: Timestamp
    expires_at: Timestamp = Field(description="It fails if it is still running then.")
    completed_at: Timestamp | None


class WholeGoldenRun(GoldenRun):
    """A golden run with its examples."""

    examples: list[GoldenExample]


class Promotion(BaseModel):
    """Which version is to serve from now on."""

    model_config = ConfigDict(extra="forbid")

    version: VersionNumber
