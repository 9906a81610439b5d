"""Shapes of callback secrets and callback deliveries on the wire (docs/api/callbacks.md)."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runflow.deliveries.schemas import DeliveryAttempt, DeliveryState, Label, SecretText
from runflow.web.responses import Timestamp


class CreateCallbackSecret(BaseModel):
    """A new callback secret."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[Label | None, Field(description="What the secret is for.")] = None
    secret: Annotated[
        SecretText | None, Field(description="A secret that you have already; absent: a fresh one is made.")
    ] = None


class PatchCallbackSecret(BaseModel):
    """What to change of a callback secret. Absent fields stay."""

    model_config = ConfigDict(extra="forbid")

    label: Label | None = None
    is_current: Annotated[
        bool | None, Field(description="`true` makes it the one that `Runflow-Signature` is made with.")
    ] = None
    disabled_at: Annotated[
        AwareDatetime | None,
        Field(description="Any time: sign nothing with it from now on. Null: sign with it again."),
    ] = None


class CallbackSecret(BaseModel):
    """A secret that callbacks are signed with. Its text is never shown again."""

    id: UUID
    org_id: UUID
    key_prefix: str = Field(description="The first characters of the secret, to recognise it.")
    is_current: bool = Field(description="`Runflow-Signature` is made with it.")
    label: str | None
    disabled_at: Timestamp | None
    last_used_at: Timestamp | None = Field(description="When it last signed a callback, to about a second.")
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class NewCallbackSecret(CallbackSecret):
    """A new callback secret with its text, shown this once."""

    plain_secret: str = Field(description="The secret itself: store it now.", examples=["whsec_…"])


class CallbackDelivery(DeliveryState):
    """One message to the `callback_url` of a run or a batch."""

    id: UUID
    run_id: UUID | None
    batch_id: UUID | None
    event_type_code: str
    callback_url: str
    payload: dict[str, Any] = Field(description="What the message says.")
    payload_bytes: str = Field(description="The body as it is sent, byte for byte (UTF-8): what the signatures cover.")
    signing_secret_id: UUID | None = Field(description="The secret of `Runflow-Signature` at the last attempt.")
    attempts: list[DeliveryAttempt]
