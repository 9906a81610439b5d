"""The embedded PostgreSQL: a wheel's programs, driven by our own code (docs/decisions.md, "Embedded PostgreSQL")."""

from runflow.db.embedded.connection import ConnectionInfo
from runflow.db.embedded.errors import (
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
from runflow.db.embedded.server import EmbeddedPostgres

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
