"""From the engine's history to the files that a run delivers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .media import path_fault
from .problems import OutputError
from .prompt import Prompt, describe_node, node_order, node_problem
from .spec import Interface, OutputSpec, sorted_outputs


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One delivered file: where the engine put it, and under which output of the API it is delivered.

    `subfolder` and `filename` are relative to the engine's folder `type` (`output` or `temp`), as `GET /view` takes
    them. `batch_index` counts the files of one node from 0.
    """

    output_id: str
    node_id: str
    filename: str
    subfolder: str
    type: str
    batch_index: int


class MissingOutputError(OutputError):
    """A declared output has no file (`OUTPUT_MISSING`); each problem names an output and its node."""


class OutputPathError(OutputError):
    """A node reported a file outside the engine's folders; it is not touched."""


def collect_outputs(
    prompt: Prompt, interface: Interface, history_outputs: Mapping[str, Any] | None
) -> tuple[OutputFile, ...]:
    """The files of a finished prompt, in the order of the wire (docs/api/runs.md, "Output files").

    With declared outputs: their nodes' files only, by `sort_order`, node id (numeric first), batch index. Without any:
    every file of type `output`, with the node id as `output_id`, by node id and batch index; that may be none. Any list
    of objects with a `filename` counts, whatever its bucket is called (`images`, `gifs`, `audio`, `videos`, `files`,
    `3d`, `latents`, …); a file that a node lists in two buckets is delivered once.

    Args:
        prompt: the prompt that ran, bound or not; it serves the messages.
        interface: the version's frozen interface.
        history_outputs: `outputs` of the engine's history entry: node id → bucket → list. A node's value may be null.

    Raises:
        MissingOutputError: a declared output has no file.
        OutputPathError: a reported path is absolute or contains `..`.
    """
    outputs = history_outputs or {}
    if interface.outputs:
        return _declared(prompt, interface, outputs)
    found: list[OutputFile] = []
    for node_id in sorted(outputs, key=node_order):
        found += _node_files(prompt, node_id, node_id, outputs[node_id], ("output",))
    return tuple(found)


def _declared(prompt: Prompt, interface: Interface, outputs: Mapping[str, Any]) -> tuple[OutputFile, ...]:
    found: list[OutputFile] = []
    missing = []
    for spec in sorted_outputs(interface.outputs):
        node_id = spec.comfyui_node_id
        # A preview node that a person declared as an output by hand writes to temp/.
        types = ("output",) if spec.origin == "node" else ("output", "temp")
        files = list(_node_files(prompt, spec.name, node_id, outputs.get(node_id), types))
        found += files
        if not files:
            missing.append(node_problem(prompt, node_id, _missing_message(prompt, spec), _NEXT_STEP))
    if missing:
        raise MissingOutputError(missing)
    return tuple(found)


_NEXT_STEP = "Run the workflow in ComfyUI, see that this node saves a file, then deploy again."


def _missing_message(prompt: Prompt, spec: OutputSpec) -> str:
    return f'Output "{spec.name}" has no file: {describe_node(prompt, spec.comfyui_node_id)} produced none.'


def _node_files(
    prompt: Prompt, output_id: str, node_id: str, buckets: object, types: tuple[str, ...]
) -> Iterator[OutputFile]:
    if not isinstance(buckets, Mapping):
        return
    seen: set[tuple[str, str, str]] = set()
    for entries in buckets.values():
        if not isinstance(entries, (list, tuple)):
            continue
        for entry in entries:
            if not isinstance(entry, Mapping):
                continue
            filename, subfolder = entry.get("filename"), entry.get("subfolder") or ""
            kind = entry.get("type") or "output"
            if not isinstance(filename, str) or not isinstance(subfolder, str) or kind not in types:
                continue
            fault = path_fault(filename) or (path_fault(subfolder) if subfolder else None)
            if fault:
                message = f'{describe_node(prompt, node_id)} reported the file "{subfolder}/{filename}": {fault}.'
                step = "Make the node save below ComfyUI's output folder."
                raise OutputPathError([node_problem(prompt, node_id, message[0].upper() + message[1:], step)])
            if (filename, subfolder, kind) in seen:
                continue
            yield OutputFile(output_id, node_id, filename, subfolder, kind, batch_index=len(seen))
            seen.add((filename, subfolder, kind))
