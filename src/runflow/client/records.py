"""Records as the server sends them: dictionaries, with typed attributes for what is known of them.

A field that a newer server adds is there by its name, `run["new_field"]`, and breaks nothing.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Record(dict[str, Any]):
    """A JSON object of the API. What its class does not name is read by key."""


class required(Generic[T]):  # noqa: N801 - reads as a declaration: `id = required[str]()`
    """An attribute that reads the key of its name; `convert` makes the value of what JSON has."""

    name: str

    def __init__(self, convert: Callable[[Any], T] | None = None) -> None:
        self._convert = convert

    def __set_name__(self, owner: type[Record], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, record: None, owner: type[Record]) -> "required[T]": ...
    @overload
    def __get__(self, record: Record, owner: type[Record]) -> T: ...
    def __get__(self, record: Record | None, owner: type[Record]) -> "required[T] | T":
        if record is None:
            return self
        if self.name not in record:
            raise AttributeError(f"This {owner.__name__} came without {self.name!r}. It has: {', '.join(record)}.")
        value: T = self._value(record[self.name])
        return value

    def __set__(self, record: Record, value: T) -> None:
        raise AttributeError(f"{self.name!r} of a record cannot be set.")

    def _value(self, value: Any) -> Any:
        return value if value is None or self._convert is None else self._convert(value)


class optional(required[T | None]):  # noqa: N801 - reads as a declaration
    """The same for a key that may be null, or missing in the answer of an older server: None."""

    @overload
    def __get__(self, record: None, owner: type[Record]) -> "optional[T]": ...
    @overload
    def __get__(self, record: Record, owner: type[Record]) -> T | None: ...
    def __get__(self, record: Record | None, owner: type[Record]) -> "optional[T] | T | None":
        if record is None:
            return self
        value: T | None = self._value(record.get(self.name))
        return value


class OutputFile(Record):
    """One file that a run delivered; `url` is signed and ends after a day."""

    output_id = required[str]()
    url = required[str]()
    filename = required[str]()
    content_type = required[str]()
    size_bytes = required[int]()
    sha256 = optional[str]()
    width = optional[int]()
    height = optional[int]()
    node_id = optional[str]()


class Wait(Record):
    """What a run waited for until it began to execute, in milliseconds; the parts add up to all of it."""

    queue_ms = required[int]()
    machine_ms = required[int]()
    runtime_ms = required[int]()
    model_ms = required[int]()
    engine_ms = required[int]()


class Run(Record):
    """One dispatched execution of a workflow (docs/api/runs.md, "Reading")."""

    id = required[str]()
    status_code = required[str]()
    is_terminal = required[bool]()
    waiting_reason = optional[str]()
    queue_position = optional[int]()
    estimated_wait_seconds = optional[float]()
    model = optional[str]()
    target_version = optional[str]()
    source_code = optional[str]()
    input = optional[dict[str, Any]]()
    metadata = optional[dict[str, Any]]()
    priority = optional[int]()
    client_ref = optional[str]()
    nodes_total = optional[int]()
    nodes_completed = optional[int]()
    attempt_count = optional[int]()
    created_at = optional(datetime.fromisoformat)
    started_at = optional(datetime.fromisoformat)
    completed_at = optional(datetime.fromisoformat)
    duration_ms = optional[int]()
    wait = optional(Wait)
    cost = optional(Decimal)
    failure_code = optional[str]()
    failure_stage_code = optional[str]()
    failure_message = optional[str]()
    error = optional[dict[str, Any]]()
    output = optional[dict[str, Any]]()
    cancellation_reason = optional[str]()
    request_id = optional[str]()
    batch_id = optional[str]()
    rerun_of = optional[str]()

    @property
    def outputs(self) -> list[OutputFile]:
        """The files that the run delivered, in the order of its outputs; none unless it succeeded."""
        return [OutputFile(one) for one in (self.get("output") or {}).get("outputs") or []]


class InputField(Record):
    """One input of a workflow: its name is a key of a run's `input`."""

    name = required[str]()
    variable_type_code = required[str]()
    is_required = optional[bool]()
    default_value = optional[Any]()
    display_name = optional[str]()
    description = optional[str]()


class Workflow(Record):
    """A deployed workflow (docs/api/workflows.md, "Creating a workflow")."""

    id = required[str]()
    path = required[str]()
    name = required[str]()
    slug = required[str]()
    owner = optional[str]()
    version = optional[str]()
    status_code = optional[str]()
    description = optional[str]()
    created_at = optional(datetime.fromisoformat)
    updated_at = optional(datetime.fromisoformat)
    can_run = optional[bool]()
    """Only in the answer to a deployment: whether a connected worker has all that it needs; None: not known."""

    @property
    def inputs(self) -> list[InputField]:
        """What a run of it takes; lists leave it out unless `embed` names it."""
        return [InputField(one) for one in self.get("inputs") or []]

    @property
    def outputs(self) -> list[Record]:
        """What a run of it delivers; lists leave it out unless `embed` names it."""
        return [Record(one) for one in self.get("outputs") or []]

    @property
    def warnings(self) -> list[Record]:
        """What may surprise later: each with `message` and `next_step`; only in the answer to a deployment."""
        return [Record(one) for one in self.get("warnings") or []]


class Asset(Record):
    """A stored file (docs/api/assets.md, "The record")."""

    id = required[str]()
    name = required[str]()
    url = required[str]()
    mime_type = required[str]()
    size_bytes = required[int]()
    asset_type = optional[str]()
    folder_id = optional[str]()
    thumbnail_url = optional[str]()
    created_at = optional(datetime.fromisoformat)

    @property
    def reference(self) -> str:
        """Its stable name in the `input` of a run."""
        return f"runflow://assets/{self.id}"


class Model(Record):
    """A model file that the organization has uploaded (docs/api/models.md, "The record")."""

    id = required[str]()
    sha256 = required[str]()
    size_bytes = required[int]()
    filename = required[str]()
    created_at = optional(datetime.fromisoformat)
    used_by_count = optional[int]()
    """How many workflows use it; only where `embed` names `used_by`."""

    @property
    def used_by(self) -> list[Record]:
        """The workflows whose current version uses it, each with `id` and `path`; only where `embed` names it."""
        return [Record(one) for one in self.get("used_by") or []]


class Source(Record):
    """Code that may be built once it is approved (docs/api/sources.md, "The record")."""

    id = required[str]()
    origin = required[str]()
    commit = required[str]()
    state_code = required[str]()
    kind_code = optional[str]()
    first_seen_at = optional(datetime.fromisoformat)
    decided_at = optional(datetime.fromisoformat)
    decided_by = optional[str]()
    packages_count = optional[int]()

    @property
    def names(self) -> list[str]:
        """What versions call it."""
        return list(self.get("names") or [])

    @property
    def workflows(self) -> list[Record]:
        """Those whose current version needs it, each with `id`, `name`, `path` and `organization`."""
        return [Record(one) for one in self.get("workflows") or []]

    @property
    def workflows_count(self) -> int:
        """How many there are of them."""
        return int(self.get("workflows_count") or 0)


class Event(Record):
    """One event of a run (docs/api/runs.md, "Following"): the data, with its number and kind beside it."""

    run_id = optional[str]()
    timestamp = optional(datetime.fromisoformat)
    status_code = optional[str]()
    message = optional[str]()
    level_code = optional[str]()
    node_id = optional[str]()
    node_type = optional[str]()
    title = optional[str]()
    state_code = optional[str]()
    value = optional[int]()
    max = optional[int]()
    nodes_completed = optional[int]()
    nodes_total = optional[int]()
    queue_position = optional[int]()
    estimated_wait_seconds = optional[float]()

    def __init__(self, number: str, kind: str, data: dict[str, Any]) -> None:
        """`number` only grows; `kind` is `status`, `progress`, `log`, `node` or `queue`."""
        super().__init__(data)
        self.number = number
        self.kind = kind

    @property
    def is_end(self) -> bool:
        """Whether the run has ended with this event."""
        return self.kind == "status" and bool(self.get("is_terminal"))

    @property
    def fraction(self) -> float | None:
        """How much of the run is done, 0 to 1, where the event tells it."""
        total = self.nodes_total
        if not total:
            return None
        within = (self.value or 0) / self.max if self.max else 0.0
        return min(1.0, ((self.nodes_completed or 0) + min(1.0, within)) / total)


class WebhookEvent(Record):
    """What a callback or webhook tells (docs/api/callbacks.md, "Callbacks")."""

    event = required[str]()
    run_id = optional[str]()
    batch_id = optional[str]()
    status = optional[str]()
    workflow = optional[str]()
    client_ref = optional[str]()
    metadata = optional[dict[str, Any]]()
    output = optional[Any]()
