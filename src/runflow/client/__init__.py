"""The Python SDK: call a Runflow server from Python (docs/python.md)."""

from runflow.client import webhooks
from runflow.client.async_client import AsyncRunflow
from runflow.client.client import Runflow
from runflow.client.errors import (
    ApiError,
    BudgetUsedUp,
    Conflict,
    DownloadFailed,
    FieldError,
    InvalidRequest,
    NotConfigured,
    NotFound,
    PermissionDenied,
    RateLimited,
    RunCancelled,
    RunFailed,
    RunflowError,
    RunflowUnreachable,
    RunTimeout,
    ServerFault,
    SignatureMismatch,
    Unauthorized,
    Unavailable,
)
from runflow.client.files import File
from runflow.client.models import ModelProgress
from runflow.client.records import Asset, Event, InputField, Model, OutputFile, Record, Run, WebhookEvent, Workflow

__all__ = [
    "ApiError",
    "Asset",
    "AsyncRunflow",
    "BudgetUsedUp",
    "Conflict",
    "DownloadFailed",
    "Event",
    "FieldError",
    "File",
    "InputField",
    "InvalidRequest",
    "Model",
    "ModelProgress",
    "NotConfigured",
    "NotFound",
    "OutputFile",
    "PermissionDenied",
    "RateLimited",
    "Record",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunTimeout",
    "Runflow",
    "RunflowError",
    "RunflowUnreachable",
    "ServerFault",
    "SignatureMismatch",
    "Unauthorized",
    "Unavailable",
    "WebhookEvent",
    "Workflow",
    "webhooks",
]
