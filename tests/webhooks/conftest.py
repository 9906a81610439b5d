"""Runs to tell about: the worker and workflow of the tests of runs."""

from tests.runs.conftest import dispatch, make_worker, worker, workflow

__all__ = ["dispatch", "make_worker", "worker", "workflow"]
