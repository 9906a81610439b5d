"""The embedded PostgreSQL: a wheel's programs, driven by our own code (docs/decisions.md, "Embedded PostgreSQL")."""

from runflow.embedded_postgres.connection import ConnectionInfo
from runflow.embedded_postgres.errors import (
    BinariesUnavailable,
    ConnectionRefused,
    DatabaseUserUnavailable,
    EmbeddedPostgresError,
    HomeUnusable,
    InitialisationFailed,
    OtherMajorVersion,
    StartFailed,
    StopFailed,
)
from runflow.embedded_postgres.server import EmbeddedPostgres

__all__ = [
    "BinariesUnavailable",
    "ConnectionInfo",
    "ConnectionRefused",
    "DatabaseUserUnavailable",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "HomeUnusable",
    "InitialisationFailed",
    "OtherMajorVersion",
    "StartFailed",
    "StopFailed",
]
