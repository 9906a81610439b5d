"""Tables of usage and budgets."""

from sqlalchemy import Boolean, Column, Date, FetchedValue, Numeric, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

usage_records = Table(
    "usage_records",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("run_id", nullable=False),
    uuid_column("attempt_id", nullable=False),
    uuid_column("comfyui_workflow_id", nullable=False),
    uuid_column("api_key_id"),
    Column("gpu_code", Text, nullable=False),
    Column("prepare_seconds", Numeric(14, 3), nullable=False),
    Column("load_seconds", Numeric(14, 3), nullable=False),
    Column("execute_seconds", Numeric(14, 3), nullable=False),
    Column("price_per_second", Numeric(12, 6), nullable=False),
    Column("is_billable", Boolean, nullable=False),
    Column("gpu_seconds", Numeric(14, 3), FetchedValue(), nullable=False),
    Column("billable_seconds", Numeric(14, 3), FetchedValue(), nullable=False),
    Column("cost", Numeric(14, 6), FetchedValue(), nullable=False),
    Column("is_first", Boolean, nullable=False),
    time_column("created_at", nullable=False),
)
"""One row per attempt. The three sums follow from the other columns; the database computes them."""

budgets = Table(
    "budgets",
    metadata,
    uuid_column("org_id", primary_key=True),
    Column("monthly_limit", Numeric(14, 6)),
    Column("month", Date, nullable=False),
    Column("month_spent", Numeric(14, 6), nullable=False),
    Column("credit", Numeric(14, 6)),
    Column("credit_spent", Numeric(14, 6), nullable=False),
    Column("low_balance_threshold", Numeric(14, 6)),
    time_column("low_balance_notified_at"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)
"""At most one row per organization; without one it may spend as much as it likes."""
