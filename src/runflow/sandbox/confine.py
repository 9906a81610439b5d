"""Processes that decode what strangers sent: with bounded memory, and with nothing that the server keeps secret."""

import os
from contextlib import suppress

_SECRET_PREFIXES = ("RUNFLOW_", "PG")


def environment() -> dict[str, str]:
    """Return the server's environment without its settings, of which some are secret."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)}
    # One picture at a time needs no second thread, and each would reserve memory of its own.
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def confine(*, memory_bytes: int, file_bytes: int) -> None:
    """Bound this process's address space and the files that it writes, and leave the processors to the server.

    Where the system has no such limit, it goes on without.
    """
    with suppress(ImportError, AttributeError, OSError):
        os.nice(10)
    with suppress(ImportError):
        import resource

        for kind, limit in (
            (resource.RLIMIT_AS, memory_bytes),
            (resource.RLIMIT_FSIZE, file_bytes),
            (resource.RLIMIT_CORE, 0),
        ):
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (limit, limit))
