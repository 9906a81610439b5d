"""From a prompt and what callers state to the interface of a version, checked. Pure, and slow enough for a thread."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runflow import errors
from runflow.graph import (
    GraphError,
    GraphProblem,
    GraphWarning,
    InputSpec,
    Interface,
    InterfaceError,
    Limits,
    OutputSpec,
    Prompt,
    check_targets,
    find_warnings,
    read_interface,
    with_effective_defaults,
)
from runflow.graph.limits import not_understood
from runflow.workflows.fields import MAX_NAME, MAX_TEXT
from runflow.workflows.interface.overrides import Fault, override, target_exists
from runflow.workflows.interface.rows import (
    MANUAL,
    InputRow,
    Merged,
    OutputRow,
    input_of_node,
    live,
    merge,
    output_of_node,
)

_EXTRAS = ("default_behavior_code", "validator_code", "validator_attrs")


@dataclass(frozen=True, slots=True)
class Declared:
    """A well-formed prompt and the rows that its Runflow nodes declare."""

    prompt: Prompt
    inputs: tuple[InputRow, ...]
    outputs: tuple[OutputRow, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """The rows that a workflow has from now on, and the interface they make."""

    inputs: Merged[InputRow]
    outputs: Merged[OutputRow]
    interface: Interface
    warnings: tuple[GraphWarning, ...]

    def frozen(self) -> dict[str, Any]:
        """Return the interface to keep with a version: `Interface.from_dict` reads it; validators ride along."""
        data = self.interface.to_dict()
        rows: tuple[InputRow | OutputRow, ...] = (*self.inputs.live, *self.outputs.live)
        for row, kept in zip(rows, (*data["inputs"], *data["outputs"]), strict=True):
            kept.update({name: value for name in _EXTRAS if (value := getattr(row, name, None)) is not None})
        return data


def read_declared(workflow_json: Any) -> Declared:
    """Read a prompt that was sent. Raises `WorkflowInvalid`, naming each node that has to be repaired."""
    try:
        declared = read_interface(workflow_json)
        prompt: Prompt = workflow_json
        inputs = tuple(map(input_of_node, declared.inputs))
        outputs = tuple(map(output_of_node, declared.outputs))
        rows: tuple[InputRow | OutputRow, ...] = (*inputs, *outputs)
        problems = [problem for row in rows if (problem := _unstorable(prompt, row))]
        if problems:
            raise InterfaceError(problems)
    except GraphError as error:
        raise workflow_invalid(error) from None
    return Declared(prompt, inputs, outputs)


def first_rows(declared: Declared) -> tuple[Merged[InputRow], Merged[OutputRow]]:
    """Return the rows of a new workflow."""
    return Merged(declared.inputs), Merged(declared.outputs)


def merge_rows(
    declared: Declared, inputs: Sequence[InputRow], outputs: Sequence[OutputRow]
) -> tuple[Merged[InputRow], Merged[OutputRow]]:
    """Return what the stored rows become under a new prompt."""
    return (
        merge(inputs, declared.inputs, lambda row: target_exists(declared.prompt, row)),
        merge(outputs, declared.outputs, lambda row: target_exists(declared.prompt, row)),
    )


def settle(
    prompt: Prompt,
    inputs: Merged[InputRow],
    outputs: Merged[OutputRow],
    stated_inputs: Sequence[Mapping[str, Any]],
    stated_outputs: Sequence[Mapping[str, Any]],
) -> Settled:
    """Apply what was stated explicitly and check the result.

    Raises `ValidationFailed` (a stated row cannot be applied, or names a target that does not exist) or
    `WorkflowInvalid` (the rows contradict each other).
    """
    input_rows, input_faults = override(InputRow, inputs.rows, stated_inputs, prompt)
    output_rows, output_faults = override(OutputRow, outputs.rows, stated_outputs, prompt)
    faults = [*_details("inputs", input_faults), *_details("outputs", output_faults)]
    if faults:
        raise errors.ValidationFailed(faults[0]["msg"], errors=faults[:100])
    try:
        return assemble(prompt, replace(inputs, rows=input_rows), replace(outputs, rows=output_rows))
    except GraphError as error:
        raise workflow_invalid(error) from None


def assemble(prompt: Prompt, inputs: Merged[InputRow], outputs: Merged[OutputRow]) -> Settled:
    """Check the rows against each other and the prompt. Raises `GraphError`."""
    interface = interface_of(inputs.rows, outputs.rows)
    check_targets(prompt, interface)
    _check_outputs(interface)
    interface = with_effective_defaults(prompt, interface)
    effective = {spec.name: spec.effective_default for spec in interface.inputs}
    inputs = replace(inputs, rows=tuple(replace(row, effective_default=effective.get(row.name)) for row in inputs.rows))
    dropped: tuple[InputRow | OutputRow, ...] = (*inputs.dropped, *outputs.dropped)
    lost = tuple(_lost(row) for row in dropped if row.origin == MANUAL and not row.deleted)
    unknown = tuple(warning for row in inputs.live for warning in _without_effect(row))
    return Settled(inputs, outputs, interface, (*lost, *unknown, *find_warnings(prompt, interface)))


def interface_of(inputs: Iterable[InputRow], outputs: Iterable[OutputRow]) -> Interface:
    """Return the interface that rows make: the live ones, in order."""
    return Interface(
        tuple(
            InputSpec(
                name=row.name,
                variable_type_code=row.variable_type_code,
                display_name=row.display_name,
                description=row.description,
                is_required=row.is_required,
                default_value=row.default_value,
                sort_order=row.sort_order,
                comfyui_node_id=row.comfyui_node_id,
                comfyui_field_name=row.comfyui_field_name,
                origin=row.origin,
                limits=Limits.of(row.variable_type_code, row.validator_attrs),
                effective_default=row.effective_default,
            )
            for row in live(inputs)
        ),
        tuple(
            OutputSpec(
                name=row.name,
                variable_type_code=row.variable_type_code,
                display_name=row.display_name,
                description=row.description,
                sort_order=row.sort_order,
                comfyui_node_id=row.comfyui_node_id,
                comfyui_field_name=row.comfyui_field_name,
                origin=row.origin,
            )
            for row in live(outputs)
        ),
    )


def workflow_invalid(error: GraphError) -> errors.WorkflowInvalid:
    """Return the answer to a prompt that cannot be served: every problem with its node."""
    details = [
        {
            "loc": ["body", "workflow_json", *([problem.node_id] if problem.node_id else [])],
            "msg": str(problem),
            "type": "workflow_invalid",
        }
        for problem in error.problems
    ]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return errors.WorkflowInvalid(f"{error.problems[0]}{more}", errors=details)


def _check_outputs(interface: Interface) -> None:
    """Raise `InterfaceError` where two outputs would deliver the same files."""
    taken: dict[tuple[str, str], str] = {}
    problems = []
    for spec in interface.outputs:
        first = taken.setdefault((spec.comfyui_node_id, spec.comfyui_field_name), spec.name)
        if first != spec.name:
            message = f'The outputs "{first}" and "{spec.name}" both deliver the files of node {spec.comfyui_node_id}.'
            problems.append(GraphProblem(message, "Remove or rename one of them.", spec.comfyui_node_id))
    if problems:
        raise InterfaceError(problems)


def _unstorable(prompt: Prompt, row: InputRow | OutputRow) -> GraphProblem | None:
    """Return why a row that a node declares cannot be kept: its texts go to columns with limits."""
    class_type = str(prompt[row.comfyui_node_id]["class_type"])
    node_id = row.comfyui_node_id[:100]
    for what, text, limit in (
        ("id", row.name, MAX_NAME),
        ("node id", row.comfyui_node_id, MAX_NAME),
        ("label", row.display_name, MAX_TEXT),
        ("description", row.description, MAX_TEXT),
    ):
        if len(text) > limit:
            reason, step = f"has a {what} of {len(text)} characters; at most {limit} are allowed", "Shorten it."
        elif "\0" in text:
            reason, step = f"has a {what} with a NUL character", "Remove it."
        else:
            continue
        return GraphProblem(f"Node {node_id} ({class_type}) {reason}.", step, node_id=node_id, class_type=class_type)
    return None


def _without_effect(row: InputRow) -> Iterator[GraphWarning]:
    for key in not_understood(row.variable_type_code, row.validator_attrs or {}):
        yield GraphWarning(
            row.comfyui_node_id,
            f'"{key}" in the validator_attrs of the input "{row.name}" ({row.variable_type_code}) has no effect: it '
            "does not fit the type, or its value cannot be understood.",
            "Repair it (docs/api/runs.md, Limits), or leave it out.",
        )


def _lost(row: InputRow | OutputRow) -> GraphWarning:
    what = "input" if isinstance(row, InputRow) else "output"
    return GraphWarning(
        row.comfyui_node_id,
        f'The {what} "{row.name}" was added by hand for node {row.comfyui_node_id}, which has no place for it any '
        "more; it was removed.",
        f"Add the {what} again with another comfyui_node_id and comfyui_field_name if callers still need it.",
    )


def _details(where: str, faults: Iterable[Fault]) -> list[dict[str, Any]]:
    return [
        {"loc": ["body", where, fault.index, fault.field], "msg": fault.message, "type": "interface_row"}
        for fault in faults
    ]
