"""What can go wrong with the embedded PostgreSQL; every message names what failed and the next step."""

ANOTHER_DATABASE = "or set RUNFLOW_DATABASE_URL to a PostgreSQL that you run yourself"


class EmbeddedPostgresError(RuntimeError):
    """Base of every error of this package. Its message is one or more whole sentences for the operator."""


class BinariesUnavailable(EmbeddedPostgresError):
    """The PostgreSQL programs are missing, of another version, or cannot be executed on this machine."""


class DatabaseUserUnavailable(EmbeddedPostgresError):
    """Started as root, but no system user exists (or may be used) to run PostgreSQL under."""


class HomeUnusable(EmbeddedPostgresError):
    """A folder or file below RUNFLOW_HOME cannot be read, written or reached."""


class OtherMajorVersion(EmbeddedPostgresError):
    """The data folder was written by another major version of PostgreSQL; the message holds the upgrade commands."""


class InitialisationFailed(EmbeddedPostgresError):
    """A new data folder could not be made; nothing was left behind."""


class StartFailed(EmbeddedPostgresError):
    """The PostgreSQL server ended before it accepted a connection; the message holds its last log lines."""


class StopFailed(EmbeddedPostgresError):
    """A PostgreSQL process on our data folder survived every signal."""


class ConnectionRefused(EmbeddedPostgresError):
    """The server runs, but does not let us in (usually: the password file does not belong to this data folder)."""
