"""Rules of reading evaluations and of feedback on them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow import errors
from runflow.assets import service as assets
from runflow.audit import recorder
from runflow.evaluations import queries
from runflow.evaluations.listing import EVALUATION_LIST
from runflow.evaluations.record import action_record, judge_records, record, references_in
from runflow.evaluations.schemas import Feedback
from runflow.runs.service import RunReader
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, build, check_projection, envelope, page, project


class EvaluationReader:
    """Reads evaluations for their callers."""

    def __init__(self, services: Services, runs: RunReader) -> None:
        """Read with these parts."""
        self._services = services
        self._runs = runs

    async def get(self, caller: Principal, evaluation_id: UUID, base_url: str, query: RecordQuery) -> dict[str, Any]:
        """Return an evaluation. Raises `EvaluationNotFound` or `InvalidField`."""
        check_projection(query, EVALUATION_LIST.response_fields, EVALUATION_LIST.embeds)
        async with self._services.db.tenant(caller.org_id) as connection:
            row = await _existing(connection, caller, evaluation_id)
            records = await self._records(connection, [row], base_url, query.embed)
        await self._embed_runs(caller, records, base_url, query.embed)
        return project(records[0], query)

    async def list_page(
        self, caller: Principal, base_url: str, query: ListQuery, run_id: UUID | None = None
    ) -> dict[str, Any]:
        """Return a page of the organization's evaluations, with `run_id` those of one run.

        Raises `RunNotFound` or what a bad query raises.
        """
        async with self._services.db.tenant(caller.org_id) as connection:
            if run_id is None:
                base = queries.selection(caller.org_id)
            else:
                if not await queries.run_exists(connection, run_id):
                    raise errors.RunNotFound
                base = queries.of_run(caller.org_id, run_id)
            rows = await queries.rows(connection, build(EVALUATION_LIST, query, base))
            found = page(EVALUATION_LIST, query, rows)
            records = await self._records(connection, found.rows, base_url, query.embed)
        await self._embed_runs(caller, records, base_url, query.embed)
        return envelope(found, [project(item, query) for item in records])

    async def set_feedback(
        self, caller: Principal, evaluation_id: UUID, body: Feedback, base_url: str, run_id: UUID | None = None
    ) -> dict[str, Any]:
        """Set or clear feedback and return the evaluation; with `run_id` it must belong to that run.

        Without `is_positive` there is no feedback, so no reason is kept either. Raises `RunNotFound` or
        `EvaluationNotFound`.
        """
        reason = None if body.is_positive is None else body.reason
        async with self._services.db.tenant(caller.org_id) as connection:
            if run_id is not None and not await queries.run_exists(connection, run_id):
                raise errors.RunNotFound
            await _existing(connection, caller, evaluation_id, run_id)
            await queries.set_feedback(connection, evaluation_id, body.is_positive, reason)
            details = {"is_positive": body.is_positive}
            await recorder.record(connection, caller, "evaluation.feedback_set", "evaluation", evaluation_id, details)
            row = await _existing(connection, caller, evaluation_id)
            return (await self._records(connection, [row], base_url))[0]

    async def created(self, connection: AsyncConnection, row: Row[Any], base_url: str) -> dict[str, Any]:
        """Return the record of an evaluation inside the transaction that made it."""
        return (await self._records(connection, [row], base_url))[0]

    async def _records(
        self, connection: AsyncConnection, rows: Sequence[Row[Any]], base_url: str, embed: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        wanted = set().union(*(references_in(row) for row in rows))
        signed = {
            asset: self._services.storage.download_url(
                base_url,
                file.object_key,
                filename=file.filename,
                content_type=file.mime_type,
                seconds=self._services.settings.output_url_seconds,
            )
            for asset, file in (await assets.resolve(connection, wanted)).items()
        }
        records = [record(self._services, base_url, row, signed) for row in rows]
        if {"judges", "gate_failures"} & set(embed):
            ids = [row.id for row in rows]
            judges = judge_records(await queries.judges_of(connection, ids), await queries.issues_of(connection, ids))
            for item in records:
                said = judges.get(item["id"], [])
                if "judges" in embed:
                    item["judges"] = said
                if "gate_failures" in embed:
                    item["gate_failures"] = [judge for judge in said if judge["is_gate"] and judge["passed"] is False]
        if "action" in embed:
            for item in records:
                item["action"] = action_record(item["primary_action_code"])
        return records

    async def _embed_runs(
        self, caller: Principal, records: list[dict[str, Any]], base_url: str, embed: Sequence[str]
    ) -> None:
        if "run" not in embed:
            return
        wanted = list({item["run_id"] for item in records if item["run_id"] is not None})
        found = await self._runs.by_ids(caller, wanted, base_url) if wanted else {}
        for item in records:
            item["run"] = found.get(item["run_id"])


async def _existing(
    connection: AsyncConnection, caller: Principal, evaluation_id: UUID, run_id: UUID | None = None
) -> Row[Any]:
    row = await queries.by_id(connection, caller.org_id, evaluation_id, run_id)
    if row is None:
        raise errors.EvaluationNotFound
    return row
