"""Shapes of organizations and members on the wire."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from runflow.accounts.keys.schemas import NewApiKey
from runflow.graph.slug import SlugError
from runflow.slugs import SlugRule
from runflow.web.responses import Timestamp


class Role(StrEnum):
    """What a member is to the organization. What a program may do is said by the scopes of its key."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must hold printable characters, and not only spaces")
    return text.strip()


Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]
Email = Annotated[
    str,
    Field(
        max_length=320,
        pattern=r"^[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,255}$",
        description="The person's address, kept in lower case; the same person in every organization. Nothing is sent "
        "to it.",
        examples=["ada@example.com"],
    ),
    AfterValidator(_printable),
    # One spelling for all: that of whoever wrote it first would tell another organization that somebody did.
    AfterValidator(str.lower),
]


class CreateOrganization(BaseModel):
    """A new organization."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, Field(description="What people call it.", examples=["Acme"])]
    slug: Annotated[
        str | None,
        Field(
            description="The `owner` in the addresses of its workflows; absent: made from the name. It never changes.",
            examples=["acme"],
        ),
    ] = None

    @field_validator("slug")
    @classmethod
    def _usable(cls, slug: str | None) -> str | None:
        try:
            return None if slug is None else OWNER.checked(slug)
        except SlugError as error:
            raise ValueError(str(error)) from None


class PatchOrganization(BaseModel):
    """A change of an organization. Its slug is part of every address and cannot be changed."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name | None, Field(description="What people call it.")] = None


class Organization(BaseModel):
    """An organization."""

    id: UUID
    name: str
    slug: str = Field(description="The `owner` in the addresses of its workflows.")
    plan_code: str = Field(description="`self-hosted`, unless the operator says otherwise.", examples=["self-hosted"])
    created_at: Timestamp
    updated_at: Timestamp


class NewOrganization(Organization):
    """A new organization with its first API key, shown this once."""

    api_key: NewApiKey


class CreateMember(BaseModel):
    """A new member."""

    model_config = ConfigDict(extra="forbid")

    email: Email
    role_code: Annotated[Role, Field(description="What the member is to the organization.")] = Role.MEMBER
    first_name: Name | None = None
    last_name: Name | None = None


class PatchMember(BaseModel):
    """A change of a member; absent fields stay as they are, a null name is taken away."""

    model_config = ConfigDict(extra="forbid")

    role_code: Role = Role.MEMBER
    first_name: Name | None = None
    last_name: Name | None = None


class Member(BaseModel):
    """A member of an organization."""

    id: UUID
    org_id: UUID
    user_id: UUID = Field(description="The person: the same in every organization.")
    email: str
    role_code: Role
    first_name: str | None
    last_name: str | None
    created_by: UUID | None = Field(description="The API key that added the member; null: the operator.")
    created_at: Timestamp
    updated_at: Timestamp


class Membership(BaseModel):
    """What the caller is to an organization."""

    org: Organization
    role_code: str | None = Field(description="`owner`, `admin` or `member`; null for a key that belongs to nobody.")
    scopes: list[str] = Field(description="What the key may do there.")


class CallingKey(BaseModel):
    """The API key that the request was sent with."""

    id: UUID
    name: str
    key_prefix: str
    scopes: list[str]
    expires_at: Timestamp | None


class Me(BaseModel):
    """The caller."""

    id: UUID = Field(description="The user; where the key belongs to nobody, the key itself.")
    email: str = Field(
        description="The user's address; where the key belongs to nobody, one made of the key's id that reaches nobody."
    )
    first_name: str | None = Field(description="Where the key belongs to nobody, the name of the key.")
    last_name: str | None
    avatar_url: str | None = Field(description="Always null: this server keeps no pictures of people.")
    timezone: str | None = Field(description="Always null.")
    locale_code: str | None = Field(description="Always null.")
    email_verified_at: Timestamp | None = Field(description="Always null: nothing is sent to addresses.")
    memberships: list[Membership] | None = Field(description="Null unless embedded.")
    organizations: list[Organization] | None = Field(description="Null unless embedded.")
    pending_invitations: list[str] | None = Field(description="Null unless embedded, then always empty.")
    organization: Organization = Field(description="The key's organization.")
    api_key: CallingKey


OWNER = SlugRule(frozenset({"categories", "any"}))
"""Reserved: fixed words in the place of `{owner}`, and the word for every parent of a nested list."""
