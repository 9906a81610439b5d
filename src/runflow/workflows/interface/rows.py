"""The inputs and outputs of a workflow as rows, and what a new prompt does to them. Pure: no database.

A row is what the prompt declares, plus what people changed. The rules are those of docs/api/workflows.md, "Changing a
workflow":

- node rows are matched by `name`; several outputs with one name are told apart by their node;
- what a person changed survives unless the node's own widget changed since (`node_widgets` is what the node last said);
- a node row whose node vanished is dropped;
- a node row that was deleted by hand stays deleted (as a tombstone) until no node has that name any more;
- a manual row survives while its target exists, and stands in for a node row of the same name. Deleted by hand it is
  gone: it leaves a tombstone only so that deleting it twice is no error.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar
from uuid import UUID

from runflow.graph import InputSpec, InputType, OutputSpec, node_order

NODE = "node"
MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What both kinds of rows have; names are those of the wire. `id` is None until the row is stored."""

    name: str
    variable_type_code: InputType
    display_name: str = ""
    description: str = ""
    validator_code: str | None = None
    validator_attrs: Mapping[str, Any] | None = None
    sort_order: int = 0
    comfyui_node_id: str
    comfyui_field_name: str
    origin: str
    node_widgets: Mapping[str, Any] | None = None
    deleted: bool = False
    id: UUID | None = field(default=None, compare=False)

    @property
    def key(self) -> Hashable:
        """What no two live rows share."""
        raise NotImplementedError

    @property
    def target(self) -> tuple[str, str]:
        """The node and its field."""
        return self.comfyui_node_id, self.comfyui_field_name

    @property
    def is_gone(self) -> bool:
        """Whether it is the tombstone of a manual row, which nothing brings back."""
        return self.deleted and self.origin == MANUAL

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key: `sort_order`, then node id (numeric first), then name."""
        return self.sort_order, node_order(self.comfyui_node_id), self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRow(_Row):
    """An input."""

    default_behavior_code: str | None = None
    is_required: bool = True
    default_value: Any = None
    effective_default: Any = None

    @property
    def key(self) -> Hashable:
        """Input names are unique."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRow(_Row):
    """An output."""

    @property
    def key(self) -> Hashable:
        """Several nodes may have one output name."""
        return self.name, self.comfyui_node_id


EitherRow = TypeVar("EitherRow", InputRow, OutputRow)


@dataclass(frozen=True, slots=True)
class Merged(Generic[EitherRow]):
    """All rows that a workflow has from now on (tombstones included), and the stored ones that it has no more."""

    rows: tuple[EitherRow, ...]
    dropped: tuple[EitherRow, ...] = ()

    @property
    def live(self) -> tuple[EitherRow, ...]:
        """The rows that callers see, in order."""
        return live(self.rows)


def live(rows: Iterable[EitherRow]) -> tuple[EitherRow, ...]:
    """Return the rows that callers see, in their order."""
    return tuple(sorted((row for row in rows if not row.deleted), key=lambda row: row.order))


def input_of_node(spec: InputSpec) -> InputRow:
    """Return the row of an input that a Runflow node declares."""
    widgets: dict[str, Any] = {
        "display_name": spec.display_name,
        "description": spec.description,
        "is_required": spec.is_required,
        "default_value": spec.default_value,
        "sort_order": spec.sort_order,
    }
    attributes = spec.limits.to_attributes()
    if attributes:
        # Only then: nodes without limits say what they said before there were any.
        widgets["validator_attrs"] = attributes
    return InputRow(
        name=spec.name,
        variable_type_code=spec.variable_type_code,
        comfyui_node_id=spec.comfyui_node_id,
        comfyui_field_name=spec.comfyui_field_name,
        origin=NODE,
        node_widgets=widgets,
        effective_default=spec.effective_default,
        **widgets,
    )


def output_of_node(spec: OutputSpec) -> OutputRow:
    """Return the row of an output that a Runflow node declares."""
    widgets: dict[str, Any] = {
        "display_name": spec.display_name,
        "description": spec.description,
        "sort_order": spec.sort_order,
    }
    return OutputRow(
        name=spec.name,
        variable_type_code=spec.variable_type_code,
        comfyui_node_id=spec.comfyui_node_id,
        comfyui_field_name=spec.comfyui_field_name,
        origin=NODE,
        node_widgets=widgets,
        **widgets,
    )


def row_of_version(kind: type[EitherRow], frozen: Mapping[str, Any]) -> EitherRow:
    """Return a row as a version froze it; who said what of it has to be filled in."""
    names = {one.name for one in fields(kind)} - {"id", "deleted", "node_widgets"}
    values = {name: value for name, value in frozen.items() if name in names}
    made: EitherRow = kind(**{**values, "variable_type_code": InputType(frozen["variable_type_code"])})
    return made


def restore(kept: Sequence[EitherRow], declared: Sequence[EitherRow], stored: Sequence[EitherRow]) -> Merged[EitherRow]:
    """Return the rows of an earlier version: exactly those that it froze, `kept`.

    `declared` are those that its prompt declares; `stored` are the ones of today, which lend their ids. What the nodes
    said is remembered, so that a person's edits are still known as such at the next deploy. A declared row that the
    version did not have was deleted by hand then, and is so again. Manual rows that it did not have are dropped.
    """
    ids: dict[Hashable, UUID | None] = {}
    for row in sorted(stored, key=lambda row: not row.deleted):
        if not row.is_gone:
            ids[row.key] = row.id
    said = {row.key: row.node_widgets for row in declared}
    rows = [
        replace(row, id=ids.get(row.key), node_widgets=said.get(row.key) if row.origin == NODE else None)
        for row in kept
    ]
    shown = {row.key for row in kept}
    rows += [replace(row, id=ids.get(row.key), deleted=True) for row in declared if row.key not in shown]
    rows += [row for row in stored if row.is_gone]
    used = {row.id for row in rows}
    return Merged(tuple(rows), tuple(row for row in stored if row.id not in used))


def merge(
    stored: Sequence[EitherRow], declared: Sequence[EitherRow], has_target: Callable[[EitherRow], bool]
) -> Merged[EitherRow]:
    """Return what the stored rows become when the prompt declares other ones.

    `has_target` tells whether a row's target exists in the new prompt. Neither sequence is changed.
    """
    manual = [row for row in stored if row.origin == MANUAL and not row.deleted and has_target(row)]
    shadowed = {row.key for row in manual}
    matches = _match([row for row in stored if row.origin == NODE], declared)
    kept: list[EitherRow] = []
    for fresh, old in matches:
        if fresh.key in shadowed and not (old and old.deleted):
            continue
        kept.append(fresh if old is None else _merge_row(old, fresh))
    # A Runflow node that is now where a manual row pointed speaks for itself.
    taken = {row.target for row in kept if not row.deleted}
    kept += [row for row in manual if row.target not in taken]
    kept += [row for row in stored if row.is_gone]
    kept_ids = {row.id for row in kept}
    return Merged(tuple(kept), tuple(row for row in stored if row.id not in kept_ids))


def _match(stored: Sequence[EitherRow], declared: Sequence[EitherRow]) -> list[tuple[EitherRow, EitherRow | None]]:
    """Pair each declared row with the stored row of its name: the same node first, then any that is left."""
    live_first = sorted(stored, key=lambda row: row.deleted)
    at_place: dict[tuple[str, str], int] = {}
    for number, row in enumerate(live_first):
        at_place.setdefault((row.name, row.comfyui_node_id), number)
    matched: dict[int, int] = {}
    for at, fresh in enumerate(declared):
        number = at_place.pop((fresh.name, fresh.comfyui_node_id), -1)
        if number >= 0:
            matched[at] = number
    used = set(matched.values())
    left: dict[str, deque[int]] = {}
    for number, row in enumerate(live_first):
        if number not in used:
            left.setdefault(row.name, deque()).append(number)
    for at, fresh in enumerate(declared):
        if at not in matched and left.get(fresh.name):
            matched[at] = left[fresh.name].popleft()
    return [(fresh, live_first[matched[at]] if at in matched else None) for at, fresh in enumerate(declared)]


def _merge_row(old: EitherRow, fresh: EitherRow) -> EitherRow:
    """Return the node's row with what people changed in the old one."""
    same_type = old.variable_type_code == fresh.variable_type_code
    before, now = old.node_widgets or {}, fresh.node_widgets or {}
    changes: dict[str, Any] = {}
    for name, said in now.items():
        if name == "validator_attrs":
            continue
        is_edited = getattr(old, name) != before.get(name)
        # A position among other nodes moves when they come and go, which takes back nobody's decision.
        widget_unchanged = name == "sort_order" or (name in before and before[name] == said)
        if is_edited and widget_unchanged and (same_type or name != "default_value"):
            changes[name] = getattr(old, name)
    if same_type:
        changes["validator_code"] = old.validator_code
        said_before = before.get("validator_attrs")
        if old.validator_attrs != said_before and said_before == now.get("validator_attrs"):
            changes["validator_attrs"] = old.validator_attrs
        if isinstance(old, InputRow):
            changes["default_behavior_code"] = old.default_behavior_code
    merged: EitherRow = replace(fresh, id=old.id, deleted=old.deleted, **changes)
    return merged


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Every row of a workflow, those deleted by hand included."""

    inputs: tuple[InputRow, ...]
    outputs: tuple[OutputRow, ...]
