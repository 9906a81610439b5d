"""Reading what an organization spends: its balance, and its usage (docs/api/metering.md)."""

from datetime import datetime
from decimal import ROUND_FLOOR
from functools import lru_cache
from typing import Any

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations import queries as orgs
from runflow.billing import queries
from runflow.billing.queries import Group, Standing, UsageGroup, UsageTotals
from runflow.billing.schemas import PatchBalance
from runflow.web.auth import Principal
from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, envelope, project, read_page
from runflow.web.period import Period
from runflow.web.services import Services

CURRENCY = "USD"


async def get(services: Services, caller: Principal) -> dict[str, Any]:
    """Return the balance; its amounts are null where no budget was set."""
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.standing(transaction, caller.org_id)
        own = await orgs.by_slug(transaction, caller.org_slug)
    dated = own if row is None else row
    if dated is None:
        raise errors.Internal
    return balance_record(caller, row, created_at=dated.created_at, updated_at=dated.updated_at)


async def patch(services: Services, caller: Principal, body: PatchBalance) -> dict[str, Any]:
    """Set the threshold. Raises `Conflict` when the balance was changed since `updated_at`."""
    threshold = body.low_balance_threshold
    async with services.db.tenant(caller.org_id) as transaction:
        if not await queries.set_threshold(transaction, caller.org_id, threshold, body.updated_at):
            raise errors.Conflict("The balance was changed since you read it. Read it again, then decide.")
        details = {"low_balance_threshold": None if threshold is None else str(threshold)}
        await recorder.record(transaction, caller, "balance.updated", "balance", caller.org_id, details)
    return await get(services, caller)


async def credit_balances(services: Services, caller: Principal) -> dict[str, Any]:
    """Return the balance in the shape that some clients read."""
    found = await get(services, caller)
    one = {"org_id": found["org_id"], "balance": found["balance"], "balance_usd": found["balance"]}
    return {"items": [one | {"currency": CURRENCY}]}


def balance_record(
    caller: Principal, row: Standing | None, *, created_at: datetime, updated_at: datetime
) -> dict[str, Any]:
    """Return a balance as the wire shows it. There is one per organization, so it has the organization's id."""
    of_budget = ("monthly_limit", "month_spent", "credit", "credit_spent")
    shown: dict[str, Any] = dict.fromkeys((*of_budget, "low_balance_threshold", "low_balance_notified_at"))
    left = None
    if row is not None:
        left = row.balance
        shown = {
            "monthly_limit": row.monthly_limit,
            "month_spent": None if row.monthly_limit is None else row.spent_this_month,
            "credit": row.credit,
            "credit_spent": None if row.credit is None else row.credit_spent,
            "low_balance_threshold": row.low_balance_threshold,
            "low_balance_notified_at": row.low_balance_notified_at,
        }
    return {
        "id": caller.org_id,
        "org_id": caller.org_id,
        "balance": left,
        "balance_cents": None if left is None else int((left * 100).to_integral_value(ROUND_FLOOR)),
        "currency": CURRENCY,
        "has_budget": left is not None,
        **shown,
        "created_at": created_at,
        "updated_at": updated_at,
    }


SUMS = ("runs", "attempts", "gpu_seconds", "billable_seconds", "cost")
KEY_FIELDS = {
    Group.DAY: ("day", FieldKind.TIMESTAMP),
    Group.WORKFLOW: ("comfyui_workflow_id", FieldKind.UUID),
    Group.API_KEY: ("api_key_id", FieldKind.UUID),
    Group.GPU: ("gpu_code", FieldKind.STRING),
}


def read_groups(text: str | None) -> tuple[Group, ...]:
    """Return the groups that `group_by` names, each once; `day` without any. Raises `ValidationFailed`."""
    names = [name.strip() for name in (text or Group.DAY).split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Group)]
    if unknown or not names:
        shown = f'"{unknown[0][:60]}" is none of them' if unknown else "it is empty"
        message = f"`group_by` takes a comma list of {', '.join(Group)}; {shown}."
        raise errors.ValidationFailed(
            message, errors=[{"loc": ["query", "group_by"], "msg": message, "type": "invalid_group"}]
        )
    return tuple(group for group in Group if group in names)


@lru_cache
def usage_list(groups: tuple[Group, ...]) -> ListSpec:
    """Return what usage in this grouping can be filtered and sorted by."""
    table = queries.grouped(groups)
    keys = tuple(
        ListField(name, table.c[name], kind, nullable=group is Group.API_KEY)
        for group, (name, kind) in KEY_FIELDS.items()
        if group in groups
    )
    sums = (
        ListField("runs", table.c.runs, FieldKind.INT),
        ListField("attempts", table.c.attempts, FieldKind.INT),
        ListField("gpu_seconds", table.c.gpu_seconds, FieldKind.DECIMAL),
        ListField("billable_seconds", table.c.billable_seconds, FieldKind.DECIMAL),
        ListField("cost", table.c.cost, FieldKind.DECIMAL),
    )
    return ListSpec(
        from_=table,
        fields=(ListField("id", table.c.id, FieldKind.STRING), *keys, *sums),
        response_fields=frozenset({"id", *(name for name, _ in KEY_FIELDS.values()), *SUMS}),
        default_sort="day:desc" if Group.DAY in groups else "cost:desc",
    )


async def usage(
    services: Services, caller: Principal, query: ListQuery, period: Period, groups: tuple[Group, ...]
) -> dict[str, Any]:
    """Return a page of usage rows, and the totals of the whole period whatever the page shows."""
    spec = usage_list(groups)
    async with services.db.listing(caller.org_id) as transaction:
        parameters = queries.of_period(period)
        found = await read_page(transaction, spec, query, row=UsageGroup, parameters=parameters, short=True)
        totals = await queries.totals(transaction, period)
    items = [project(usage_record(row), query) for row in found.rows]
    whole = {"from": period.start, "to": period.end, "group_by": groups, "totals": sums(totals)}
    return envelope(found, items) | whole


def usage_record(row: UsageGroup) -> dict[str, Any]:
    """Return one usage row; what was not grouped by is null."""
    return {
        "id": row.id,
        "day": None if row.day is None else row.day.date(),
        "comfyui_workflow_id": row.comfyui_workflow_id,
        "api_key_id": row.api_key_id,
        "gpu_code": row.gpu_code,
        **sums(row),
    }


def sums(row: UsageTotals) -> dict[str, Any]:
    """Return the sums of a row: seconds as numbers, money as it is."""
    return {
        "runs": row.runs,
        "attempts": row.attempts,
        "gpu_seconds": float(row.gpu_seconds),
        "billable_seconds": float(row.billable_seconds),
        "cost": row.cost,
    }
