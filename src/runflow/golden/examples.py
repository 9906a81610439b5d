"""Keeping examples: what is kept is checked as a dispatch is, and its files become assets."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.runs import queries as runs
from runflow.runs.file_inputs import Given
from runflow.runs.preparation import prepare
from runflow.runs.reruns import target_of
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows.golden.schemas import KeepExample
from runflow.workflows.golden.service import keep_example, too_large
from runflow.workflows.targets import DispatchTarget, at_version


async def keep(
    services: Services, caller: Principal, workflow_id: UUID, body: KeepExample
) -> tuple[dict[str, Any], bool]:
    """Keep an input as an example of an own workflow, in the place of the one of its name.

    Return its record and whether it is new. Raises `WorkflowNotFound`, `RunNotFound`, `LimitReached`, or
    `ValidationFailed` naming each value that the version does not take.
    """
    target = await _target(services, caller, workflow_id, body.version)
    given = await _given(services, caller, workflow_id, body)
    problems = too_large(_without_files(given.values), given.place)
    if problems:
        raise errors.ValidationFailed(problems[0]["msg"], errors=problems)
    prepared = await prepare(services, caller, target, [given])
    async with services.db.tenant(caller.org_id) as transaction:
        return await keep_example(
            transaction,
            caller,
            workflow_id,
            body.name,
            values=prepared.inputs[0],
            evaluate=body.evaluate,
            run_id=body.run_id,
        )


async def _target(services: Services, caller: Principal, workflow_id: UUID, version: int | None) -> DispatchTarget:
    target = await target_of(services, caller, workflow_id, None)
    if target.org_id != caller.org_id:
        raise errors.WorkflowNotFound
    return target if version is None else await at_version(services, caller, target, version)


async def _given(services: Services, caller: Principal, workflow_id: UUID, body: KeepExample) -> Given:
    if (body.input is None) == (body.run_id is None):
        message = "Send either `input`, as a dispatch takes it, or the `run_id` of a run whose input is to be kept."
        raise errors.ValidationFailed(message, errors=[{"loc": ["body"], "msg": message, "type": "one_of"}])
    if body.input is not None:
        return Given(body.input)
    run = None if body.run_id is None else await runs.by_id(services, caller.org_id, body.run_id)
    if run is None or run.comfyui_workflow_id != workflow_id:
        raise errors.RunNotFound(
            "There is no such run of this workflow in your organization. `GET /v1/runs` lists yours."
        )
    return Given(run.input, ("run", "input"))


def _without_files(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without inline files, which become references."""
    return {
        name: value for name, value in values.items() if not (isinstance(value, str) and value[:5].lower() == "data:")
    }
