"""Shapes of API keys on the wire."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.web.responses import Timestamp


class CreateApiKey(BaseModel):
    """A new API key."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=255, description="What the key is for.", examples=["ci"])]
    scopes: Annotated[
        list[str] | None,
        Field(description="What the key may do; absent: everything the creating key may do.", max_length=64),
    ] = None
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description="When the key stops working; absent or null: when the creating key does, or never."),
    ] = None
    user_id: Annotated[
        UUID | None, Field(description="The member whose key this is: it is revoked when that member leaves.")
    ] = None
    rate_limit_per_second: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Most requests per second; absent or null: the creating key's, or the server's own limit.",
        ),
    ] = None

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: list[str] | None) -> list[str] | None:
        unknown = [scope for scope in scopes or () if scope not in ALL_SCOPES]
        if unknown:
            raise ValueError(f"unknown scope {unknown[0]!r}; the scopes are {', '.join(ALL_SCOPES)}")
        return scopes

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("must hold printable characters only")
        return name

    @field_validator("expires_at")
    @classmethod
    def _ahead(cls, expires_at: datetime | None) -> datetime | None:
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise ValueError("lies in the past")
        return expires_at


class ApiKey(BaseModel):
    """An API key. Its secret is never shown again."""

    id: UUID
    org_id: UUID
    name: str
    key_prefix: str = Field(description="The first characters of the key, to recognise it.")
    scopes: list[str]
    expires_at: Timestamp | None
    last_used_at: Timestamp | None
    revoked_at: Timestamp | None
    created_by: UUID | None = Field(description="The API key that made this one; null: the operator.")
    user_id: UUID | None = Field(description="The member whose key this is.")
    rate_limit_per_second: int | None = Field(description="Most requests per second; null: the server's own limit.")
    created_at: Timestamp
    updated_at: Timestamp


class NewApiKey(ApiKey):
    """A new API key with its secret, shown this once."""

    key: str = Field(description="The key itself: store it now.", examples=["rf_live_…"])
