"""Shapes of webhooks and their deliveries on the wire (docs/api/callbacks.md, "Webhooks")."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from runflow.deliveries.schemas import DeliveryAttempt, DeliveryState, Label, SecretText, TargetUrl
from runflow.deliveries.webhooks.event_types import EVENT_TYPES
from runflow.web.responses import Timestamp

MAX_SUBSCRIPTIONS = 100


class EventType(BaseModel):
    """Something that webhooks can subscribe to."""

    code: str
    name: str
    description: str
    sort_order: int
    payload: dict[str, Any] = Field(description="An example of what is sent.")


def _known_event(code: str | None) -> str | None:
    if code is not None and code not in EVENT_TYPES:
        raise ValueError(f"is no event type; the event types are {', '.join(EVENT_TYPES)}")
    return code


class Subscription(BaseModel):
    """A subscription to one event type."""

    model_config = ConfigDict(extra="ignore")

    event_type_code: str

    _known = field_validator("event_type_code")(_known_event)


def _as_object(value: object) -> object:
    return {"event_type_code": value} if isinstance(value, str) else value


Subscriptions = Annotated[
    list[Annotated[Subscription, BeforeValidator(_as_object, json_schema_input_type=str | Subscription)]],
    Field(
        max_length=MAX_SUBSCRIPTIONS,
        description="Event types, each as text or as `{event_type_code}`. An empty list: the webhook gets nothing.",
        examples=[["run.completed", "run.failed"]],
    ),
]


class CreateWebhook(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid")

    url: TargetUrl
    event_subscriptions: Annotated[
        Subscriptions | None, Field(description="Event types, as text or `{event_type_code}`; absent: all there are.")
    ] = None
    secret: Annotated[
        SecretText | None, Field(description="A secret that you have already; absent: a fresh one is made.")
    ] = None
    label: Annotated[Label | None, Field(description="What the webhook is for.")] = None


class PatchWebhook(BaseModel):
    """What to change of a webhook. Absent fields stay."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[TargetUrl | None, Field(description="What waits to be delivered goes there too.")] = None
    secret: Annotated[
        SecretText | None, Field(description="The new secret. The old one signs beside it for another 24 hours.")
    ] = None
    event_subscriptions: Subscriptions | None = None
    label: Label | None = None
    disabled_at: Annotated[
        AwareDatetime | None, Field(description="Any time: deliver nothing from now on. Null: deliver again.")
    ] = None
    updated_at: Annotated[
        AwareDatetime | None,
        Field(description="As you have read it: with another value, because someone changed it meanwhile, 409."),
    ] = None

    @field_validator("url", "secret", "event_subscriptions")
    @classmethod
    def _present(cls, value: object) -> object:
        if value is None:
            raise ValueError("must not be null; leave it out to keep what is there")
        return value


class TestDelivery(BaseModel):
    """Which event to send for a test. The body may be left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"event_type_code": "run.completed"}]})

    event_type_code: Annotated[
        str | None,
        AfterValidator(_known_event),
        Field(description="Default: the first that the webhook subscribes to."),
    ] = None


class WebhookSubscription(BaseModel):
    """A subscription of a webhook."""

    webhook_id: UUID
    event_type_code: str


class Webhook(BaseModel):
    """An organization's subscription to events. Its secret is never shown again."""

    id: UUID
    org_id: UUID
    url: str
    label: str | None
    secret_fingerprint: str = Field(
        description="To recognise the secret: the first 16 hex digits of the SHA-256 of its text."
    )
    previous_secret_until: Timestamp | None = Field(description="Until then the secret before signs as well.")
    event_subscriptions: list[WebhookSubscription]
    disabled_at: Timestamp | None
    disabled_reason_code: Literal["manual", "gone", "failing"] | None = Field(
        description="`manual`: by a key. `gone`: the receiver answered 410. `failing`: nothing arrived for days."
    )
    disabled_reason: str | None
    failing_since: Timestamp | None = Field(description="Every attempt since then has failed.")
    last_triggered_at: Timestamp | None = Field(description="When it was last tried, to about a second.")
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class NewWebhook(Webhook):
    """A new webhook with its secret, shown this once."""

    secret: str = Field(description="The signing secret: store it now.", examples=["whsec_…"])


class WebhookDeliverySummary(DeliveryState):
    """One event to one webhook."""

    id: UUID
    webhook_id: UUID
    event_type_code: str
    url: str = Field(description="Where it goes, or went.")
    run_id: UUID | None
    batch_id: UUID | None
    evaluation_id: UUID | None
    golden_run_id: UUID | None


class WebhookDelivery(WebhookDeliverySummary):
    """One event to one webhook, with what is said and every attempt."""

    payload: dict[str, Any]
    payload_bytes: str = Field(description="The body as it is sent, byte for byte (UTF-8): what the signatures cover.")
    attempts: list[DeliveryAttempt]


class WebhookAttempt(DeliveryAttempt):
    """One try to deliver an event."""

    webhook_id: UUID
