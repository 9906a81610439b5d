"""Pure functions between a ComfyUI prompt and an API: read its interface, bind values, collect files.

Needs the standard library only, so the same code runs in the server, in the worker and inside ComfyUI.
"""

from __future__ import annotations

from .bind import bind, injected_input
from .coerce import DefaultValue, ValueRefused, ValueRules, coerce_default, coerce_value
from .effective import with_effective_defaults
from .example_call import curl_command, example_value, used_default
from .inputs_behind import FeedingInput, check_values, inputs_behind
from .interface import read_interface
from .limits import Limits
from .media import MediaKind, MediaReference, MediaReferenceError, media_reference, path_fault
from .problems import (
    BindError,
    GraphError,
    GraphProblem,
    GraphWarning,
    InterfaceError,
    OutputError,
    PromptError,
)
from .prompt import MAX_NODES, Prompt, check_prompt, describe_node, executed_nodes, is_link, node_order, node_title
from .results import MissingOutputError, OutputFile, OutputPathError, collect_outputs
from .runflow_nodes import InputType
from .scrub import graph_nodes, scrub_graph, scrub_prompt, without_text
from .slug import MAX_SLUG_LENGTH, SlugError, is_slug, slugify
from .spec import InputSpec, Interface, OutputSpec
from .targets import check_targets
from .values import Validated, ValueProblem, media_inputs, validate_values
from .warnings import find_warnings

__all__ = [
    "MAX_NODES",
    "MAX_SLUG_LENGTH",
    "BindError",
    "DefaultValue",
    "FeedingInput",
    "GraphError",
    "GraphProblem",
    "GraphWarning",
    "InputSpec",
    "InputType",
    "Interface",
    "InterfaceError",
    "Limits",
    "MediaKind",
    "MediaReference",
    "MediaReferenceError",
    "MissingOutputError",
    "OutputError",
    "OutputFile",
    "OutputPathError",
    "OutputSpec",
    "Prompt",
    "PromptError",
    "SlugError",
    "Validated",
    "ValueProblem",
    "ValueRefused",
    "ValueRules",
    "bind",
    "check_prompt",
    "check_targets",
    "check_values",
    "coerce_default",
    "coerce_value",
    "collect_outputs",
    "curl_command",
    "describe_node",
    "example_value",
    "executed_nodes",
    "find_warnings",
    "graph_nodes",
    "injected_input",
    "inputs_behind",
    "is_link",
    "is_slug",
    "media_inputs",
    "media_reference",
    "node_order",
    "node_title",
    "path_fault",
    "read_interface",
    "scrub_graph",
    "scrub_prompt",
    "slugify",
    "used_default",
    "validate_values",
    "with_effective_defaults",
    "without_text",
]
