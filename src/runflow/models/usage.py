"""Who uses models: workflows whose current version names one, and workers whose engine has it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runflow import errors
from runflow.models import queries
from runflow.models.queries import ModelUse
from runflow.models.schemas import MOST_NAMED, model_record
from runflow.models.tables import ModelRow
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workers import service as workers

MOST_IN_SENTENCE = 5


@dataclass(frozen=True, slots=True)
class Usage:
    """Who uses some models, by SHA-256; None where that is not told."""

    used_by: Mapping[str, Sequence[ModelUse]] | None
    workers: Mapping[str, Sequence[str]] | None

    def record(self, model: ModelRow) -> dict[str, Any]:
        """Return a model's record, with what is told."""
        record = model_record(model)
        if self.used_by is not None:
            uses = self.used_by.get(model.sha256, ())
            record["used_by"] = [{"id": use.id, "path": use.path} for use in uses]
            record["used_by_count"] = uses[0].total if uses else 0
        if self.workers is not None:
            record["workers"] = list(self.workers.get(model.sha256, ()))[:MOST_NAMED]
        return record


async def usage(services: Services, caller: Principal, models: Sequence[ModelRow], embed: Collection[str]) -> Usage:
    """Return who uses these models, as far as `embed` asks and the caller may see it, with one query for each kind."""
    hashes = [model.sha256 for model in models]
    used_by = having = None
    if "used_by" in embed:
        async with services.db.listing(caller.org_id) as transaction:
            used_by = await queries.uses(transaction, caller.org_id, hashes, MOST_NAMED)
    if "workers" in embed:
        having = await workers.having(services, caller, hashes)
    return Usage(used_by, having)


def in_use(model: ModelRow, uses: Sequence[ModelUse]) -> errors.Conflict:
    """Return why a model is not deleted that these workflows use, and what to do."""
    named = [use.path for use in uses[:MOST_IN_SENTENCE]]
    others = uses[0].total - len(named)
    users = ", ".join(named) + (f" and {others} more" if others else "")
    return errors.Conflict(
        f"The current version of {users} uses the model {model.filename}. Delete these workflows, deploy them with "
        "another model, or repeat this with `?force=true` (`runflow models remove --force`)."
    )
