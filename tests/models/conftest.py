"""What the models' tests share: the worker of the runs' tests."""

from tests.runs.conftest import dispatch, make_worker, worker, workflow

__all__ = ["dispatch", "make_worker", "worker", "workflow"]
