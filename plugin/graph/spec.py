"""The inputs and outputs of one version of a workflow, as values with the wire's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .coerce import DefaultValue, ValueRefused, coerce_default
from .limits import NO_LIMITS, Limits
from .problems import GraphProblem, InterfaceError
from .prompt import node_order
from .runflow_nodes import VALUE_FIELD, InputType

ORIGINS = ("node", "manual")
"""`node`: read from a Runflow node of the prompt. `manual`: added by a person (docs/api/workflows.md)."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of the API, with the wire names of an input row (docs/api/workflows.md, "The interface").

    `name` is the key in a run's `input`. The value goes to `comfyui_field_name` of node `comfyui_node_id`; where that
    is the value of a Runflow Input node, every node with the same `input_id` and class receives it too.
    `effective_default` is what a run uses when an optional one is left out, `default_value` included.
    """

    name: str
    variable_type_code: InputType
    display_name: str
    description: str
    is_required: bool
    default_value: DefaultValue
    sort_order: int
    comfyui_node_id: str
    comfyui_field_name: str
    origin: str
    limits: Limits = NO_LIMITS
    effective_default: DefaultValue = None

    def to_dict(self) -> dict[str, Any]:
        """The input as JSON values, for storing a version's frozen interface; `limits` are its `validator_attrs`."""
        found = {field: _json(getattr(self, field)) for field in self.__slots__}
        more = {"validator_attrs": found.pop("limits").to_attributes() or None}
        more["effective_default"] = found.pop("effective_default")
        return found | {field: value for field, value in more.items() if value is not None}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> InputSpec:
        """Read what `to_dict` wrote, or a row with at least a name, a type and a node id; other keys are ignored.

        Raises:
            InterfaceError: a field is missing or has the wrong type.
        """
        name = _text(row, "name", "An input")
        where = f'Input "{name}"'
        kind = _type(row, where)
        required = row.get("is_required")
        if required is not None and not isinstance(required, bool):
            raise _row_error(where, "is_required", "must be true or false")
        default = _default(row, "default_value", kind, where)
        return cls(
            name=name,
            variable_type_code=kind,
            display_name=_optional_text(row, "display_name", where) or name,
            description=_optional_text(row, "description", where),
            is_required=True if required is None else required,
            default_value=default,
            sort_order=_sort_order(row, where),
            comfyui_node_id=_text(row, "comfyui_node_id", where),
            comfyui_field_name=_optional_text(row, "comfyui_field_name", where) or VALUE_FIELD,
            origin=_origin(row, where),
            limits=Limits.of(kind, row.get("validator_attrs")),
            effective_default=_default(row, "effective_default", kind, where),
        )


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of the API, with the wire names of an output row (docs/api/workflows.md, "The interface").

    Files are matched by `comfyui_node_id`. Several outputs may have one `name` (several Runflow Output nodes with one
    `output_id`); callers then get all their files under that `output_id`.
    """

    name: str
    variable_type_code: InputType
    display_name: str
    description: str
    sort_order: int
    comfyui_node_id: str
    comfyui_field_name: str
    origin: str

    def to_dict(self) -> dict[str, Any]:
        """The output as JSON values, for storing a version's frozen interface."""
        return {field: _json(getattr(self, field)) for field in self.__slots__}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> OutputSpec:
        """Read what `to_dict` wrote, or a row with at least a name, a type and a node id; other keys are ignored.

        Raises:
            InterfaceError: a field is missing or has the wrong type.
        """
        name = _text(row, "name", "An output")
        where = f'Output "{name}"'
        return cls(
            name=name,
            variable_type_code=_type(row, where),
            display_name=_optional_text(row, "display_name", where) or name,
            description=_optional_text(row, "description", where),
            sort_order=_sort_order(row, where),
            comfyui_node_id=_text(row, "comfyui_node_id", where),
            comfyui_field_name=_optional_text(row, "comfyui_field_name", where) or VALUE_FIELD,
            origin=_origin(row, where),
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """All inputs and outputs of one version of a workflow. Input names are unique, output names need not be."""

    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()

    def find_input(self, name: str) -> InputSpec | None:
        """The input with that name, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """The interface as JSON values."""
        return {
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Interface:
        """Read what `to_dict` wrote.

        Raises:
            InterfaceError: a row is malformed.
        """
        inputs, outputs = data.get("inputs") or (), data.get("outputs") or ()
        return cls(tuple(map(InputSpec.from_dict, inputs)), tuple(map(OutputSpec.from_dict, outputs)))


def sorted_outputs(outputs: Iterable[OutputSpec]) -> list[OutputSpec]:
    """Outputs in the order of `outputs[]`: by `sort_order`, then node id, numeric first (docs/api/runs.md)."""
    return sorted(outputs, key=lambda spec: (spec.sort_order, node_order(spec.comfyui_node_id)))


def _json(value: Any) -> Any:
    return value.value if isinstance(value, InputType) else value


def _row_error(where: str, field: str, what: str) -> InterfaceError:
    return InterfaceError([GraphProblem(f"{where}: {field} {what}.".replace("..", "."), f"Repair {field}.")])


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _row_error(where, field, "must be a text that is not empty")
    return value


def _optional_text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise _row_error(where, field, "must be a text")
    return value or ""


def _type(row: Mapping[str, Any], where: str) -> InputType:
    try:
        return InputType.parse(row.get("variable_type_code"))
    except ValueError as error:
        raise _row_error(where, "variable_type_code", f"is wrong: {error}") from None


def _default(row: Mapping[str, Any], field: str, kind: InputType, where: str) -> DefaultValue:
    try:
        return coerce_default(kind, row.get(field))
    except ValueRefused as refused:
        raise _row_error(where, field, str(refused)) from None


def _sort_order(row: Mapping[str, Any], where: str) -> int:
    value = row.get("sort_order", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _row_error(where, "sort_order", "must be an integer")
    return value


def _origin(row: Mapping[str, Any], where: str) -> str:
    value = row.get("origin", "node")
    if value not in ORIGINS:
        raise _row_error(where, "origin", f"must be one of {', '.join(ORIGINS)}")
    return str(value)
