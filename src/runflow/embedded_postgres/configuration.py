"""PostgreSQL's settings: a small box of its own, durable, quiet when idle."""

from __future__ import annotations

from pathlib import Path

from runflow.embedded_postgres.socket_folder import PORT

FILE = "runflow.conf"
INCLUDE = f"""
# Runflow writes {FILE} anew at each start. Settings of your own go below this line and win.
include '{FILE}'
"""

SETTINGS: dict[str, str] = {
    # Connections: two pools, one LISTEN connection per process, room for a few more processes and for psql.
    "max_connections": "60",
    # Memory: small tables, hot indexes; the file cache of the system does the rest.
    "shared_buffers": "96MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    # Shared memory comes with the server's own, not from /dev/shm, which containers keep small
    # and which a logout may empty.
    "min_dynamic_shared_memory": "8MB",
    # Durability: an acknowledged commit survives a power cut.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "512MB",
    "min_wal_size": "64MB",
    "checkpoint_timeout": "15min",
    # Backups by pg_basebackup stay possible; nothing else needs these processes.
    "max_wal_senders": "2",
    "max_replication_slots": "2",
    "max_logical_replication_workers": "0",
    # Short queries on few cores: compiling and parallel plans cost more than they bring.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers": "0",
    "max_worker_processes": "2",
    "io_method": "sync",
    "random_page_cost": "1.1",
    # A queue's tables change all the time: vacuum little and often.
    "autovacuum_max_workers": "2",
    "autovacuum_worker_slots": "4",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_naptime": "30s",
    # The log: what went wrong, in English whatever the system speaks, because diagnosis.py reads it.
    "log_checkpoints": "off",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
    "lc_messages": "'C'",
    "password_encryption": "'scram-sha-256'",
}


def text() -> str:
    """Return the contents of runflow.conf."""
    lines = [f"{name} = {value}" for name, value in SETTINGS.items()]
    return "\n".join(["# Written by Runflow at each start; your own settings go to postgresql.conf.", *lines, ""])


def arguments(data: Path, socket_dir: Path, cluster_name: str) -> list[str]:
    """Return the server's arguments: what no file and no ALTER SYSTEM may change."""
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": f'"{socket_dir}"',
        "unix_socket_permissions": "0700",
        "cluster_name": cluster_name,
        # To the descriptor that we gave it: see server_log.
        "log_destination": "stderr",
        "logging_collector": "off",
    }
    return ["-D", str(data), *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))]
