"""Inputs and outputs that a caller states explicitly: they change, or join, the rows that the prompt declares. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runflow.graph import Limits, Prompt, ValueRefused, coerce_default
from runflow.graph.runflow_nodes import VALUE_FIELD
from runflow.graph.targets import has_target, missing_target
from runflow.workflows.interface.rows import MANUAL, NODE, EitherRow, InputRow, OutputRow

LISTED_NAMES = 20
"""So many names that nodes declare are told to whoever sent another one."""
_TEXTS = ("display_name", "description")
_NULLABLE = ("default_value", "default_behavior_code", "validator_code", "validator_attrs", *_TEXTS)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one explicit row: `field` of the item at `index`."""

    index: int
    field: str
    message: str


def target_exists(prompt: Prompt, row: InputRow | OutputRow) -> bool:
    """Tell whether the prompt has the node, and for an input the field, that a row names."""
    if isinstance(row, InputRow):
        return has_target(prompt, row.comfyui_node_id, row.comfyui_field_name)
    return row.comfyui_node_id in prompt


def override(
    kind: type[EitherRow], rows: Iterable[EitherRow], stated: Sequence[Mapping[str, Any]], prompt: Prompt
) -> tuple[tuple[EitherRow, ...], list[Fault]]:
    """Return the rows with each stated item applied to the row of its name, and what cannot be applied.

    An item holds only the fields that were sent. It brings a deleted row back. A name that no row has makes a manual
    row, which needs a type and a target. An input that is given another target than its node becomes a manual row too.
    """
    result = list(rows)
    places: dict[str, list[int]] = {}
    for at, row in enumerate(result):
        if not row.is_gone:
            places.setdefault(row.name, []).append(at)
    declared = [row.name for row in result if row.origin == NODE and not row.is_gone][:LISTED_NAMES]
    faults: list[Fault] = []
    seen: set[object] = set()
    for index, item in enumerate(stated):
        values = effective(item)
        place = _find(kind, result, places.get(values["name"], []), values)
        applied, found = _applied(kind, None if place is None else result[place], values, index, declared)
        faults += found
        if applied is None:
            continue
        if applied.key in seen:
            faults.append(Fault(index, "name", f'"{applied.name}" is stated twice.'))
            continue
        seen.add(applied.key)
        checked, found = _checked(applied, index, prompt, values)
        faults += found
        if place is None:
            places.setdefault(checked.name, []).append(len(result))
            result.append(checked)
        else:
            result[place] = checked
    return tuple(result), faults


def effective(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an item changes: null clears what can be null, and anywhere else counts as not sent."""
    values = {name: value for name, value in item.items() if value is not None or name in _NULLABLE}
    return values | {name: values[name] or "" for name in _TEXTS if name in values}


def change(row: EitherRow, item: Mapping[str, Any], prompt: Prompt) -> tuple[EitherRow, list[Fault]]:
    """Return one row with an item applied to it, which may rename it if it is manual, and what is wrong with that."""
    values = effective(item)
    changed, faults = _applied(type(row), row, values, 0, ())
    if changed is None:
        return row, faults
    if changed.origin == NODE and changed.name != row.name:
        why = (
            f'"{row.name}" is declared by node {row.comfyui_node_id}, whose id is its name. '
            "Rename it in that node and deploy again."
        )
        return row, [Fault(0, "name", why)]
    return _checked(changed, 0, prompt, values)


def _find(
    kind: type[EitherRow], rows: Sequence[EitherRow], named: Sequence[int], values: Mapping[str, Any]
) -> int | None:
    """Return which of the rows of this name an item is about: a live one before a deleted one."""
    node = values.get("comfyui_node_id")
    if kind is OutputRow and node is not None:
        named = [at for at in named if rows[at].comfyui_node_id == node]
    return min(named, key=lambda at: rows[at].deleted, default=None)


def _applied(
    kind: type[EitherRow], row: EitherRow | None, values: Mapping[str, Any], index: int, declared: Sequence[str]
) -> tuple[EitherRow | None, list[Fault]]:
    if row is None:
        missing = [name for name in ("variable_type_code", "comfyui_node_id") if name not in values]
        if missing:
            there = f" (they declare: {', '.join(declared)})" if declared else ""
            why = f'No Runflow node declares "{values["name"]}"{there}, so a row for it needs {" and ".join(missing)}.'
            return None, [Fault(index, missing[0], why)]
        return kind(**{"comfyui_field_name": VALUE_FIELD, **values, "origin": MANUAL}), []
    if isinstance(row, InputRow) and row.default_value is None and row.effective_default is not None:
        # A record shows it as the default; what was read and is sent back changes nothing.
        values = {name: value for name, value in values.items() if not _is_as_shown(row, name, value)}
    changed: EitherRow = replace(row, **values, deleted=False)
    if row.origin == NODE and changed.target != row.target:
        return replace(changed, origin=MANUAL, node_widgets=None), []
    if row.origin == NODE and changed.variable_type_code != row.variable_type_code:
        why = (
            f'"{row.name}" is declared by node {row.comfyui_node_id}, whose type is {row.variable_type_code}. '
            "Leave variable_type_code out, or use a Runflow node of another type."
        )
        return None, [Fault(index, "variable_type_code", why)]
    return changed, []


def _is_as_shown(row: InputRow, name: str, value: Any) -> bool:
    shown = row.effective_default
    # JavaScript reads 8.0 and sends 8; 1 and True are equal and not the same.
    is_same = type(value) is type(shown) or (type(value) is int and type(shown) is float)
    return name == "default_value" and is_same and value == shown


def _checked(row: EitherRow, index: int, prompt: Prompt, stated: Collection[str]) -> tuple[EitherRow, list[Fault]]:
    """Return the row with its label and default in their normal form, and what is wrong with its target."""
    faults: list[Fault] = []
    changes: dict[str, Any] = {"display_name": row.display_name or row.name}
    if isinstance(row, InputRow):
        try:
            changes["default_value"] = coerce_default(row.variable_type_code, row.default_value)
        except ValueRefused as refused:
            faults.append(Fault(index, "default_value", f'The default of "{row.name}" {refused}'))
        else:
            if {"default_value", "validator_attrs"} & set(stated):
                faults += _limit_faults(row, changes["default_value"], index)
    if not target_exists(prompt, row):
        field = row.comfyui_field_name if isinstance(row, InputRow) else None
        who = f'{"Input" if isinstance(row, InputRow) else "Output"} "{row.name}"'
        problem = missing_target(prompt, who, row.comfyui_node_id, field)
        where = "comfyui_field_name" if row.comfyui_node_id in prompt else "comfyui_node_id"
        faults.append(Fault(index, where, str(problem)))
    return replace(row, **changes), faults


def _limit_faults(row: InputRow, default: Any, index: int) -> list[Fault]:
    """Tell where the limits leave no value, or not the row's own default."""
    limits = Limits.of(row.variable_type_code, row.validator_attrs)
    fault = limits.fault()
    if fault is not None:
        return [
            Fault(index, "validator_attrs", f'"{row.name}" {fault} No value would be taken. Repair validator_attrs.')
        ]
    refused = limits.refusal(default) if default is not None else None
    if refused is None:
        return []
    return [Fault(index, "default_value", f'The default of "{row.name}" is outside its limits: the input {refused}')]
