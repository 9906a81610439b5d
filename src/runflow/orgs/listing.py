"""What the lists of organizations and members can be filtered and sorted by."""

from runflow.orgs.schemas import Member, Organization, Role
from runflow.orgs.tables import members, organizations, users
from runflow.web.lists import FieldKind, ListField, ListSpec

ORGANIZATION_LIST = ListSpec(
    from_=organizations,
    fields=(
        ListField("id", organizations.c.id, FieldKind.UUID),
        ListField("name", organizations.c.name, FieldKind.STRING),
        ListField("slug", organizations.c.slug, FieldKind.STRING),
        ListField("plan_code", organizations.c.plan_code, FieldKind.STRING),
        ListField("created_at", organizations.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", organizations.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Organization.model_fields),
)

MEMBER_LIST = ListSpec(
    from_=members.join(users, users.c.id == members.c.user_id),
    fields=(
        ListField("id", members.c.id, FieldKind.UUID),
        ListField("user_id", members.c.user_id, FieldKind.UUID),
        ListField("email", users.c.email, FieldKind.STRING),
        ListField("role_code", members.c.role_code, FieldKind.ENUM, choices=tuple(Role)),
        ListField("first_name", members.c.first_name, FieldKind.STRING, nullable=True),
        ListField("last_name", members.c.last_name, FieldKind.STRING, nullable=True),
        ListField("created_by", members.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", members.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", members.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Member.model_fields),
)
