"""Shapes of workflows on the wire, and the types of their single fields (docs/api/workflows.md)."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)

from runflow.protocol.named_packs import MOST_PACKS
from runflow.web.responses import Timestamp
from runflow.workflows.fields import (
    CategoryCode,
    Code,
    GpuCode,
    GpuMode,
    JsonDocument,
    JsonObject,
    Name,
    Slug,
    Text,
    WorkflowStatus,
)
from runflow.workflows.golden.schemas import MOST_EXAMPLES, GoldenRun, SentExample
from runflow.workflows.interface.schemas import (
    InputDefinition,
    OutputDefinition,
    Warning,  # noqa: A004 - the wire's own word
    WorkflowInput,
    WorkflowOutput,
)
from runflow.workflows.versions.schemas import Golden, WorkflowVersion

_INT32 = 2**31 - 1

_PROMPT_EXAMPLE = {
    "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "prompt", "required": True}},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}

WorkflowJson = Annotated[
    Any,
    Field(
        description="The prompt: ComfyUI's API-format graph, node id → `{class_type, inputs}`. In ComfyUI: "
        "Workflow > Export (API). At most 10,000 nodes. Its Runflow Input and Output nodes declare the interface.",
        examples=[_PROMPT_EXAMPLE],
    ),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
Models = Annotated[
    JsonDocument, Field(description="Models it loads: path below `models/` → `{url, sha256}`. Kept as sent.")
]
CustomNodes = Annotated[
    JsonDocument, Field(description="Custom nodes it needs: folder → `{origin, commit}`. Kept as sent.")
]
Resources = Annotated[
    JsonDocument, Field(description="Files placed below `input/` for each run: path → `{asset_id, sha256, …}`.")
]
Graph = Annotated[
    JsonObject,
    Field(
        description="The UI-format graph, for opening the workflow in ComfyUI again. Kept as sent, but for API keys."
    ),
]
Environment = Annotated[
    JsonObject,
    Field(
        description="The runtime: `{comfyui: {origin, commit}, packages, cached_models}`. Kept as sent. What "
        "`cached_models` names by SHA-256, workers bring before a run."
    ),
]
ExplicitModels = Annotated[
    list[GpuCode],
    Field(max_length=32, description="GPU codes in order of preference.", examples=[["L40S", "A100"]]),
]
Timeout = Annotated[
    StrictInt,
    Field(ge=1, le=_INT32, description="Time limit of a run in seconds; null: the operator's default (30 minutes)."),
]


class ApprovedSource(BaseModel):
    """A source that was shown to whoever deploys."""

    model_config = ConfigDict(extra="forbid")

    origin: Annotated[Name, Field(max_length=1000, examples=["https://github.com/acme/comfyui-grow"])]
    commit: Annotated[Name, Field(pattern="^[0-9a-fA-F]{40}$")]


class _Workflow(BaseModel):
    model_config = ConfigDict(extra="allow")

    slug: Annotated[
        Slug | None,
        Field(description="Unique in the organization. Default: made from `name`.", examples=["background-swap-v2"]),
    ] = None
    description: Text | None = None
    is_public: Annotated[
        StrictBool | None,
        Field(description="Other organizations may read (without documents and manifest) and run an active one."),
    ] = None
    status_code: WorkflowStatus | None = None
    category_code: CategoryCode | None = None
    gpu_mode: GpuMode | None = None
    gpu_explicit_models: ExplicitModels | None = None
    worker_labels: Annotated[
        dict[Name, Name] | None,
        Field(
            max_length=16,
            description="Only a worker that has all of these labels (`runflow worker --label`) gets its runs.",
            examples=[{"rack": "3"}],
        ),
    ] = None
    timeout_seconds: Timeout | None = None
    max_running: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=_INT32,
            description="So many of its runs are worked on at the same time, the others wait; null: any number.",
        ),
    ] = None
    auto_evaluate: Annotated[
        StrictBool | None, Field(description="Evaluate every image output of every run. Default: false.")
    ] = None
    evaluation_task_type: Annotated[
        Code | None, Field(description="Task type of automatic evaluations.", examples=["headshot"])
    ] = None
    graph: Graph = None
    environment: Environment = None
    models: Models = None
    custom_nodes: CustomNodes = None
    resources: Resources = None
    approve_sources: Annotated[
        list[ApprovedSource] | None,
        Field(
            max_length=MOST_PACKS + 1,
            description="Approve this for building, of what `custom_nodes` and `environment` name, as it was shown to "
            "you. Needs a key of the operator's organization with `sources:approve`; else it goes on waiting.",
        ),
    ] = None
    prebuild: Annotated[
        StrictBool | None,
        Field(
            description="Have a worker build the version's runtime and fetch its models before a run needs them; "
            "`GET …/{id}/runtime` tells how far it is. Not kept. Default: false."
        ),
    ] = None
    inputs: Annotated[
        list[InputDefinition] | None,
        Field(max_length=10_000, description="Override or add inputs, by `name`, to those that the prompt declares."),
    ] = None
    outputs: Annotated[
        list[OutputDefinition] | None,
        Field(max_length=10_000, description="Override or add outputs, by `name`, to those that the prompt declares."),
    ] = None
    examples: Annotated[
        list[SentExample] | None,
        Field(
            max_length=MOST_EXAMPLES,
            description="The examples that the workflow keeps from now on, in the place of those that it had.",
        ),
    ] = None
    golden: Golden = None


class CreateWorkflow(_Workflow):
    """A new workflow. Only `name` and `workflow_json` are required."""

    name: Annotated[Name, Field(examples=["Background swap v2"])]
    workflow_json: WorkflowJson


class PatchWorkflow(_Workflow):
    """Changes to a workflow; what is not sent stays, and so does a field that cannot be null but is sent as null.

    A prompt, graph, manifest or interface that is sent makes a new version.
    """

    name: Name | None = Field(None, description="Does not change the slug.")
    workflow_json: WorkflowJson = None
    updated_at: Annotated[
        AwareDatetime | None,
        Field(description="The `updated_at` that was read: the answer is 409 if the workflow was changed since."),
    ] = None


class ListedWorkflow(BaseModel):
    """A workflow in a list: documents, inputs, outputs and versions only where `fields` or `embed` name them."""

    model_config = ConfigDict(extra="allow")

    id: UUID
    org_id: UUID
    owner: str = Field(description="Slug of the organization.", examples=["acme"])
    slug: str
    path: str = Field(description="`owner/slug`, as in the dispatch route.", examples=["acme/background-swap-v2"])
    name: str
    description: str | None
    version: str = Field(description="The current version.", examples=["3"])
    is_serving: bool = Field(description="False as long as the first version has not passed its golden run.")
    is_public: bool
    status_code: WorkflowStatus
    category_code: str | None
    gpu_mode: GpuMode
    gpu_explicit_models: list[str]
    worker_labels: dict[str, str] | None = Field(description="Labels that a worker must have for its runs.")
    timeout_seconds: int | None
    max_running: int | None = Field(description="So many of its runs are worked on at the same time.")
    auto_evaluate: bool = Field(description="Every image output of every run is evaluated.")
    evaluation_task_type: str | None
    created_by: UUID | None = Field(description="The API key that created it; null to other organizations.")
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None
    deleted_by: UUID | None


class Workflow(ListedWorkflow):
    """A deployed workflow. The documents of another organization's are absent."""

    workflow_json: dict[str, Any] = Field(default_factory=dict)
    graph: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    models: dict[str, Any] | list[Any] | None = None
    custom_nodes: dict[str, Any] | list[Any] | None = None
    resources: dict[str, Any] | list[Any] | None = None
    inputs: list[WorkflowInput]
    outputs: list[WorkflowOutput]
    golden_run: GoldenRun | None = Field(None, description="The latest golden run; absent to other organizations.")
    versions: list[WorkflowVersion] = Field(default_factory=list, description="Newest first; only where embedded.")


class WrittenWorkflow(Workflow):
    """The workflow after a write, and what may surprise later."""

    can_run: bool | None = Field(
        description="Whether a connected worker has all that it needs (`warnings` say what is missing); null where no "
        "worker of its GPU classes is connected."
    )
    warnings: list[Warning]


class Restoration(BaseModel):
    """How to bring a deleted workflow back. The body may be left out."""

    model_config = ConfigDict(extra="forbid")

    slug: Annotated[
        Slug | None, Field(description="Another slug, where the old one was taken meanwhile. Default: the old one.")
    ] = None


class CategoryRecord(BaseModel):
    """What a workflow can be for."""

    code: str = Field(examples=["image-to-image"])
    name: str
    description: str
    sort_order: int
