"""Shape of audit events on the wire."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from runflow.web.responses import Timestamp


class ActorType(StrEnum):
    """Who acted."""

    API_KEY = "api_key"
    OPERATOR = "operator"


class AuditEvent(BaseModel):
    """One change: who made it, when, from where."""

    id: UUID
    org_id: UUID
    action_code: str = Field(description="What happened, as `target.verb`.", examples=["api_key.revoked"])
    actor_type: ActorType = Field(description="`operator`: on the server's command line.")
    actor_id: UUID | None = Field(description="The API key; null for the operator.")
    target_type: str = Field(description="What kind of thing was changed.", examples=["api_key"])
    target_id: str | None = Field(description="Which one.")
    details: dict[str, Any] | None = Field(description="What changed, in short; never a secret.")
    address: str | None = Field(description="Where the request came from; a proxy's address where one stands before.")
    user_agent: str | None
    request_id: str | None = Field(description="The request's `Runflow-Request-Id`.")
    created_at: Timestamp
