"""What a caller sends, made ready for the queue: every value checked first, then inline files stored.

Dispatches, batches and reruns go through here, so all of them refuse the same things in the same words, and a request
with one bad value leaves nothing behind.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.assets import references
from runflow.assets import service as assets
from runflow.graph.coerce import ValueRules
from runflow.graph.values import validate_values
from runflow.outgoing.reach import refusal
from runflow.runs import file_inputs
from runflow.runs.file_inputs import Given, InlineFile, Loc
from runflow.runs.schemas import MAX_INPUT_BYTES, MAX_METADATA_BYTES
from runflow.web.auth import Principal
from runflow.web.exception_handlers import SAID
from runflow.web.services import Services
from runflow.workflows.targets import DispatchTarget

MAX_REPORTED = 1000
"""At most this many problems of one request are reported."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The accepted values of each run, in the order in which they were given, and the metadata that they share."""

    inputs: list[dict[str, Any]]
    metadata: dict[str, Any] | None


async def prepare(
    services: Services,
    caller: Principal,
    target: DispatchTarget,
    given: Sequence[Given],
    metadata: dict[str, Any] | None = None,
    faults: Iterable[dict[str, Any]] = (),
) -> Prepared:
    """Check values against the interface of the target's version.

    `data:` URIs, and this server's own signed URLs, become references to assets of the caller.

    `faults` are entries of `errors` that were found before.

    Raises `ValidationFailed` naming every faulty value of every run.
    """
    rules = ValueRules(allow_http=services.settings.allow_http_inputs)
    accepted: list[dict[str, Any]] = []
    own = await file_inputs.found(services, caller, _media_names(target), given)
    given = own.given
    problems = [*faults, *own.problems.values()]
    for one in given:
        validated = validate_values(target.interface, one.values, rules)
        accepted.append(dict(validated.values))
        problems += [
            {"loc": [*one.place, problem.key], "msg": problem.message, "type": problem.type}
            for problem in validated.problems
            if (*one.place, problem.key) not in own.problems
        ]
    files = [file for one, values in zip(given, accepted, strict=True) for file in _files(target, one.place, values)]
    files += file_inputs.inline_files(metadata, ("body", "metadata"))
    problems += await file_inputs.check(files)
    problems += await _unknown_assets(services, caller, given, accepted, metadata, own.copies)
    for one, values in zip(given, accepted, strict=True):
        problems += _too_large("input", values, files, one.place, MAX_INPUT_BYTES)
    problems += _too_large("metadata", metadata, files, ("body", "metadata"), MAX_METADATA_BYTES)
    if problems:
        more = f" (and {len(problems) - SAID} more)" if len(problems) > SAID else ""
        said = " ".join(_said(problem) for problem in problems[:SAID])
        raise errors.ValidationFailed(f"{said}{more}", errors=problems[:MAX_REPORTED])
    await file_inputs.store_own_files(services, caller, own)
    if not files:
        return Prepared(accepted, metadata)
    stored = await file_inputs.store_inline_files(services, caller, files)
    return Prepared(
        [_with_files(target, values, stored) for values in accepted],
        file_inputs.with_references(metadata, stored),
    )


def callback_faults(services: Services, url: str | None) -> list[dict[str, Any]]:
    """Return the entry of `errors` for a callback address that nothing can ever be sent to; none for another one."""
    said = None if url is None else refusal(url, services.settings)
    if said is None:
        return []
    return [{"loc": ["body", "callback_url"], "msg": f"callback_url: {said}", "type": "blocked_address"}]


def _said(problem: dict[str, Any]) -> str:
    """Of a batch, the message tells the item: many clients show nothing else."""
    _, noun, *rest = problem["loc"]
    in_item = noun not in ("metadata", "callback_url") and rest and isinstance(rest[0], int)
    return f"Item {rest[0]}: {problem['msg']}" if in_item else str(problem["msg"])


def _files(target: DispatchTarget, place: Loc, values: dict[str, Any]) -> list[InlineFile]:
    """A text input is text: a node that decodes a `data:` URI itself gets what the caller sent."""
    media = _media_names(target)
    return [
        InlineFile((*place, name), value)
        for name, value in values.items()
        if name in media and isinstance(value, str) and value[:5].lower() == "data:"
    ]


def _with_files(target: DispatchTarget, values: dict[str, Any], stored: Mapping[str, str]) -> dict[str, Any]:
    media = _media_names(target)
    return {name: stored.get(value, value) if name in media else value for name, value in values.items()}


def _media_names(target: DispatchTarget) -> set[str]:
    return {spec.name for spec in target.interface.inputs if spec.variable_type_code.is_media}


async def _unknown_assets(
    services: Services,
    caller: Principal,
    given: Sequence[Given],
    accepted: Sequence[dict[str, Any]],
    metadata: dict[str, Any] | None,
    coming: Collection[UUID],
) -> list[dict[str, Any]]:
    wanted: set[UUID] = {asset for _, asset in references.found_in([*accepted, metadata])}.difference(coming)
    if not wanted:
        return []
    async with services.db.tenant(caller.org_id) as transaction:
        found = await assets.use(transaction, wanted)
    return [
        {
            "loc": [*one.place, name],
            "msg": f'Input "{name}": there is no asset {value} in your organization. Upload the file first.',
            "type": "unknown_asset",
        }
        for one, values in zip(given, accepted, strict=True)
        for name, value in values.items()
        if (asset := references.asset_id(value)) is not None and asset in wanted and asset not in found
    ]


def _too_large(
    noun: str, document: dict[str, Any] | None, files: list[InlineFile], place: Loc, most: int
) -> list[dict[str, Any]]:
    """A run's documents are read with it, and the metadata stands in every message about it.

    Files in them count as the references that they become.
    """
    if document is None:
        return []
    inline = sum(len(file.uri) for file in files if file.place[: len(place)] == place)
    size = len(orjson.dumps(document)) - inline
    if size <= most:
        return []
    message = f"{noun} has {size} bytes of JSON; the limit is {most}. Keep large things elsewhere."
    return [{"loc": list(place), "msg": message, "type": "too_long"}]
