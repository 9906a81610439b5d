"""Tables of workers and of the GPU catalogue."""

from sqlalchemy import ARRAY, Boolean, Column, Integer, Numeric, Table, Text, Uuid

from runflow.db.tables import json_column, metadata, time_column, uuid_column

workers = Table(
    "workers",
    metadata,
    uuid_column("id", primary_key=True),
    Column("name", Text, nullable=False),
    uuid_column("instance", nullable=False),
    time_column("instance_at", nullable=False),
    time_column("ready_at"),
    Column("gpu_code", Text, nullable=False),
    Column("gpu_name", Text),
    Column("memory_gb", Integer, nullable=False),
    json_column("labels", nullable=False),
    json_column("engine"),
    Column("fingerprints", ARRAY(Text), nullable=False),
    Column("status_code", Text, nullable=False),
    Column("status_detail", Text),
    Column("draining", Boolean, nullable=False),
    Column("unanswered_offers", Integer, nullable=False),
    time_column("unanswered_at"),
    time_column("paused_until"),
    Column("former_instances", ARRAY(Uuid), nullable=False),
    Column("takeovers", Integer, nullable=False),
    time_column("taken_over_at"),
    uuid_column("token_id"),
    time_column("removed_at"),
    json_column("abilities"),
    Column("abilities_hash", Text),
    time_column("abilities_at"),
    json_column("sandbox"),
    time_column("last_seen_at", nullable=False),
    time_column("created_at", nullable=False),
)

worker_lists = Table(
    "worker_lists",
    metadata,
    Column("hash", Text, primary_key=True),
    json_column("items", nullable=False),
    Column("length", Integer, nullable=False),
    time_column("used_at", nullable=False),
)

gpus = Table(
    "gpus",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("memory_gb", Integer, nullable=False),
    Column("price_per_second", Numeric(12, 6), nullable=False),
    Column("sort_order", Integer, nullable=False),
)
