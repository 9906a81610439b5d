"""A deployed workflow and a worker for it, as the tests of runs have them."""

from tests.runs.conftest import make_worker, worker, workflow

__all__ = ["make_worker", "worker", "workflow"]
