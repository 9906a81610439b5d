"""The Python SDK: call a Runflow server from Python."""

from runflow.client.client import Runflow
from runflow.client.errors import ApiError, RunFailed, RunflowUnreachable

__all__ = ["ApiError", "RunFailed", "Runflow", "RunflowUnreachable"]
