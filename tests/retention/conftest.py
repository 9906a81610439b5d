"""A deployed workflow, and a worker that speaks the Worker API without an engine."""

from tests.runs.conftest import dispatch, make_worker, worker, workflow

__all__ = ["dispatch", "make_worker", "worker", "workflow"]
