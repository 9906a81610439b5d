"""How a run fails (docs/api/runs.md, "Failures"): from what the engine says to why, in words for the caller."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runflow.graph import FeedingInput, Prompt, check_values, injected_input, inputs_behind
from runflow.protocol.failures import Failure, FailureCode, Stage
from runflow.worker.attempts.lease import Lease
from runflow.worker.engine.base import EngineCrashed, EngineError
from runflow.worker.engine.execution import Execution, NodeError, Outcome
from runflow.worker.engine.folders import clean


class RunFailed(Exception):
    """The run ends with `failure`."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


def failed(code: FailureCode, stage: Stage, message: str, **more: Any) -> RunFailed:
    """Return the exception for a failure with these fields."""
    return RunFailed(Failure(code, stage, message, **more))


_LAST_WORDS = 5


def failure_of(execution: Execution, prompt: Prompt, lease: Lease) -> Failure | None:
    """Return why a prompt, the bound one of `lease`, that ran to its end failed, or None when it succeeded.

    Running out of memory is worth another try, on a larger GPU or an engine that has given up its models, and the
    server sees that it is one; any other exception of a node is the run's own (docs/leases.md, "Trying again").
    """
    if execution.outcome is Outcome.SUCCEEDED:
        return None
    error = execution.error
    if execution.outcome is Outcome.INTERRUPTED or error is None:
        return Failure(
            FailureCode.EXECUTION_FAILED,
            Stage.EXECUTE,
            "The prompt was interrupted in ComfyUI by somebody else than Runflow. Run it again.",
            retryable=True,
        )
    name = injected_input(prompt, error.node_id) if error.node_id is not None else None
    if name is not None and error.code in (FailureCode.INPUT_VALIDATION_FAILED, FailureCode.EXECUTION_FAILED):
        return Failure(
            FailureCode.INPUT_VALIDATION_FAILED,
            Stage.PREPROCESS,
            f'Input "{name}" cannot be used as an image. {error.message} Send another picture, as PNG, JPEG or WebP.',
            details={"input": name},
        )
    error, inputs = _blame(execution, error, prompt, lease)
    return Failure(
        error.code,
        _stage(execution, error),
        str(error),
        node_id=error.node_id,
        node_type=error.node_type,
        details=_details(error, inputs),
        retryable=error.code is FailureCode.OUT_OF_MEMORY,
        lacking=error.code in _LACKING and not any(lease.values.get(one.name) is not None for one in inputs),
    )


_LACKING = frozenset({FailureCode.NODE_TYPE_MISSING, FailureCode.MODEL_MISSING})
"""What the version itself needs, unless the value is the caller's own: a default of the version's is none."""


_CHANGE = "Change this input and run again."


def _blame(
    execution: Execution, error: NodeError, prompt: Prompt, lease: Lease
) -> tuple[NodeError, list[FeedingInput]]:
    """Name in the message the inputs that the failing node's values came from; return them as well."""
    node_id = error.node_id
    if node_id is None:
        return error, []
    if not execution.rejected:
        inputs = inputs_behind(prompt, node_id, None, lease.interface)
        if inputs and error.code is FailureCode.EXECUTION_FAILED:
            error = replace(error, next_step=check_values(inputs))
        return error, inputs
    worst = next((one for one in error.details if error.message.startswith(str(one.get("message")))), {})
    field = worst.get("field")
    if not isinstance(field, str):
        return error, []
    if worst.get("type") == "required_input_missing":
        # Binding has removed the wire of an input that was left out.
        inputs = inputs_behind(lease.prompt, node_id, field)
        step = f'Give input "{inputs[0].name}" a value.' if inputs else error.next_step
    else:
        inputs = inputs_behind(prompt, node_id, field, lease.interface)
        step = f'Its "{field}" comes from input "{inputs[0].name}". {_CHANGE}' if inputs else error.next_step
    if inputs and error.code is FailureCode.WORKFLOW_INVALID:
        return replace(error, code=FailureCode.INPUT_VALIDATION_FAILED, next_step=step), inputs
    return replace(error, next_step=f"{step} {error.next_step}") if inputs else error, inputs


def engine_failure(error: EngineError, stage: Stage, *, has_begun: bool = False) -> Failure:
    """Return the failure of a run whose engine died or does not answer. Its last words are cleaned line by line.

    `has_begun`: whether the engine was executing it. Else its end was none of the run's doing.
    """
    code = error.code if isinstance(error, EngineCrashed) else FailureCode.ENGINE_CRASHED
    details = None
    if isinstance(error, EngineCrashed) and error.log_tail.strip():
        lines = error.log_tail.strip().splitlines()[-_LAST_WORDS:]
        details = {"last_words": [words for line in lines if (words := clean(line))]}
    message = clean(error) or "The engine failed."
    again = not has_begun or not isinstance(error, EngineCrashed) or error.again
    return Failure(code, stage, message, details=details, retryable=again)


def timeout_failure(seconds: float, stage: Stage) -> Failure:
    """Return the failure of a run that took longer than its workflow allows."""
    return Failure(
        FailureCode.RUN_TIMEOUT,
        stage,
        f"The run was stopped because it took longer than {seconds:g} seconds. Make it smaller, or raise "
        "the workflow's timeout_seconds.",
    )


def shutdown_failure() -> Failure:
    """Return the failure of a run that was executing when its worker was told to stop."""
    return Failure(
        FailureCode.WORKER_LOST,
        Stage.EXECUTE,
        "The worker was stopped while it executed the run. The run goes to another worker, or to this one when it is "
        "back.",
        retryable=True,
    )


def _stage(execution: Execution, error: NodeError) -> Stage:
    if not execution.rejected:
        return Stage.EXECUTE
    return Stage.PREPROCESS if error.code is FailureCode.INPUT_VALIDATION_FAILED else Stage.PREPARE


def _details(error: NodeError, inputs: Sequence[FeedingInput]) -> dict[str, object] | None:
    names = {one.name for one in inputs}
    found = {
        "input": names.pop() if len(names) == 1 else None,
        "inputs": [{"name": one.name, "field": one.field} for one in inputs] or None,
        "title": error.title,
        "exception_type": error.exception_type,
        "problems": list(error.details) or None,
    }
    kept: dict[str, object] = {name: value for name, value in found.items() if value is not None}
    return kept or None
