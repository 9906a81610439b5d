"""Automatic evaluations: one per image output of a run of a workflow that asked for it.

They are queued by the transaction that ends the run, so none is forgotten, and with what the run was given: texts as
prompt, numbers and choices as attributes, images as references.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import orjson

from runflow.db.transaction import Transaction
from runflow.evaluations import queries
from runflow.evaluations.limits import MAX_ATTRIBUTES_BYTES, MAX_REFERENCES, MAX_TEXT, TASK_TYPE
from runflow.graph import InputType, Interface
from runflow.ids import new_id
from runflow.queue.ending import Ending
from runflow.queue.rows import LockedRun
from runflow.web.services import Services

PROMPT_NAMES = ("prompt", "positive_prompt", "positive", "text", "caption", "instruction")
"""Names of text inputs that say what to generate; a name that ends in one of them counts, too."""
NEGATIVE = "negative"


class EvaluatedRun(Protocol):
    """What the evaluations of a run's outputs tell of the run."""

    @property
    def run_id(self) -> UUID:
        """Its id."""

    @property
    def org_id(self) -> UUID:
        """Whose it is."""

    @property
    def comfyui_workflow_id(self) -> UUID:
        """What it is a run of."""

    @property
    def request_id(self) -> str | None:
        """The request that dispatched it."""


async def evaluate_outputs(transaction: Transaction, run: EvaluatedRun, outputs: Sequence[Mapping[str, Any]]) -> int:
    """Queue an evaluation of each image among the outputs, and return how many those are."""
    images = [output for output in outputs if output["content_type"].lower().startswith("image/")]
    if not images:
        return 0
    origin = await queries.origin(transaction, run.run_id)
    prompt, attributes, references = given(Interface.from_dict(origin.interface), origin.input)
    rows = [
        {
            "id": new_id(),
            "image_object_key": output["object_key"],
            "image_content_type": output["content_type"],
            "output_id": output["output_id"],
        }
        for output in images
    ]
    await queries.add_automatic(
        transaction,
        rows,
        {
            "org": run.org_id,
            "run": run.run_id,
            "workflow": run.comfyui_workflow_id,
            "task_type": origin.evaluation_task_type or TASK_TYPE,
            "prompt": prompt,
            "attributes": orjson.dumps(attributes).decode() if attributes else None,
            "references": orjson.dumps(references).decode(),
            "request_id": run.request_id,
        },
    )
    return len(images)


def given(interface: Interface, values: Mapping[str, Any]) -> tuple[str | None, dict[str, Any], list[dict[str, Any]]]:
    """Return what a run was given, as generation prompt, input attributes and reference images. Pure.

    Defaults of inputs that were left out count: the run used them.
    """
    attributes: dict[str, Any] = {}
    references: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for spec in interface.inputs:
        value = values.get(spec.name)
        if value is None:
            value = spec.default_value
        if value is None:
            continue
        if spec.variable_type_code is InputType.IMAGE:
            if isinstance(value, str) and "://" in value and len(references) < MAX_REFERENCES:
                references.append({"url": value, "kind": "input", "description": spec.name})
        elif spec.variable_type_code is not InputType.FILE:
            attributes[spec.name] = value
            if isinstance(value, str) and value.strip() and spec.variable_type_code is InputType.STRING:
                texts[spec.name] = value
    if len(orjson.dumps(attributes)) > MAX_ATTRIBUTES_BYTES:
        attributes = {name: value for name, value in attributes.items() if not isinstance(value, str)}
    prompt = _prompt(texts)
    return (prompt[:MAX_TEXT] if prompt else None), attributes, references


def _prompt(texts: Mapping[str, str]) -> str | None:
    """Return the text that says what to generate: by its name, else the longest one."""
    wanted = {name: text for name, text in texts.items() if NEGATIVE not in name.lower()}
    for known in PROMPT_NAMES:
        for name, text in wanted.items():
            if name.lower().endswith(known):
                return text
    return max(wanted.values(), key=len, default=None)


class AutomaticEvaluations:
    """Queues the evaluations of a run that succeeded, where its workflow asked for them."""

    def concerns(self, run: LockedRun) -> bool:
        """Tell whether the workflow of this run wants its outputs judged."""
        return bool(run.auto_evaluate)

    async def write(self, services: Services, transaction: Transaction, ending: Ending) -> None:
        """Queue one evaluation per image output."""
        if ending.status == "succeeded":
            await evaluate_outputs(transaction, ending.run, ending.outputs)
