"""Shapes of usage and balances on the wire."""

from datetime import date
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runflow.web.responses import Timestamp

Money = Annotated[str, Field(description="USD, a decimal string with six decimals.", examples=["12.340000"])]


class UsageSums(BaseModel):
    """What was used and what it cost."""

    runs: int = Field(description="Runs whose first attempt ended here, so that groups add up.")
    attempts: int
    gpu_seconds: float = Field(description="Prepare, load and execute seconds of all attempts, failed ones included.")
    billable_seconds: float = Field(description="The load and execute seconds that are billed.")
    cost: Money


class UsageRow(UsageSums):
    """Usage of one group; what was not grouped by is null."""

    id: str = Field(description="The group as text, unique in the list.")
    day: date | None = Field(description="A UTC day.")
    comfyui_workflow_id: UUID | None
    api_key_id: UUID | None = Field(description="The key that dispatched the runs.")
    gpu_code: str | None


class Usage(BaseModel):
    """One page of usage rows, with the totals of the whole period."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Timestamp = Field(alias="from")
    to: Timestamp
    group_by: list[str]
    totals: UsageSums = Field(description="Of the whole period, whatever the page and the filter show.")
    items: list[UsageRow]
    first: str | None
    next: str | None
    previous: str | None
    next_pq: str | None
    prev_pq: str | None


class Balance(BaseModel):
    """What an organization may still spend. Without a budget everything: then the amounts are null."""

    id: UUID
    org_id: UUID
    balance: str | None = Field(
        description="USD left: the smaller of month and credit where both are limited, below zero when runs that were "
        "under way spent more; null when the operator set no budget.",
        examples=["37.250000"],
    )
    balance_cents: int | None = Field(description="The same in whole cents, rounded down.", examples=[3725])
    currency: str = Field(examples=["USD"])
    has_budget: bool = Field(description="Whether the operator limits this organization's spending.")
    monthly_limit: str | None = Field(description="USD per UTC calendar month.")
    month_spent: str | None = Field(description="USD spent of it in this month.")
    credit: str | None = Field(description="USD granted once, whatever the month.")
    credit_spent: str | None
    low_balance_threshold: str | None
    low_balance_notified_at: Timestamp | None = Field(description="When the balance last fell below the threshold.")
    created_at: Timestamp
    updated_at: Timestamp


class PatchBalance(BaseModel):
    """What to change of a balance; only the threshold can be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"low_balance_threshold": 5}]})

    low_balance_threshold: Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=6, allow_inf_nan=False)] | None
    updated_at: AwareDatetime | None = Field(
        default=None, description="The `updated_at` you read: 409 when it has changed since."
    )


class CreditBalance(BaseModel):
    """A balance, as some clients read it."""

    org_id: UUID
    balance: str | None
    balance_usd: str | None = Field(description="The same as `balance`.")
    currency: str


class CreditBalances(BaseModel):
    """The one balance that your organization has."""

    items: list[CreditBalance]
