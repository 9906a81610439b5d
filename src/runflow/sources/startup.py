"""What RUNFLOW_APPROVED_SOURCES approves, each time that a server process starts."""

import structlog

from runflow.accounts.audit import recorder
from runflow.accounts.organizations import queries as organizations
from runflow.ids import new_id
from runflow.sources import queries
from runflow.sources.known import publish
from runflow.sources.tables import SourceState
from runflow.web.services import Services

log = structlog.get_logger()


async def approve_settings(services: Services) -> None:
    """Approve what the settings name, whether it waits or nothing has named it yet.

    What was revoked stays so, with a line in the log: who revoked it did so after it was approved.
    """
    wanted = services.settings.approved_source_keys
    if not wanted:
        return
    async with services.db.system() as transaction:
        ids = [new_id() for _ in wanted]
        changed = await queries.approve_by_settings(transaction, ids, wanted)
        operator = await organizations.first(transaction)
        if operator is not None:
            for row in changed:
                details = {"origin": row.origin, "commit": row.commit, "setting": "RUNFLOW_APPROVED_SOURCES"}
                await recorder.record_operator(transaction, operator.id, "source.approved", "source", row.id, details)
        states = await queries.states(transaction, wanted)
    for one in states:
        if one.state_code == SourceState.REVOKED:
            log.warning(
                "RUNFLOW_APPROVED_SOURCES names what was revoked: it stays so. Take it out of the setting, or approve "
                "it again with `runflow sources approve`",
                source=f"{one.origin}@{one.commit}",
            )
    if changed:
        publish(services)
