"""SQL of members and users. The organization is the transaction's tenant."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Result, Row, Select, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.orgs.tables import members, users

MEMBERS: Select[Any] = select(*members.c, users.c.email).join(users, users.c.id == members.c.user_id)
"""Members with the address of their user."""


async def user_of(connection: AsyncConnection, email: str, fresh: UUID) -> UUID:
    """Return the user with this address, made as `fresh` if there is none yet."""
    found: UUID = (await connection.execute(select(func.user_of(email, fresh)))).scalar_one()
    return found


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    """Insert a member and return it."""
    await connection.execute(insert(members).values(**values))
    result: Result[Any] = await connection.execute(MEMBERS.where(members.c.id == values["id"]))
    return result.one()


async def get(connection: AsyncConnection, member_id: UUID) -> Row[Any] | None:
    """Return a member."""
    result: Result[Any] = await connection.execute(MEMBERS.where(members.c.id == member_id))
    return result.one_or_none()


async def of_user(connection: AsyncConnection, user_id: UUID) -> Row[Any] | None:
    """Return a user's membership."""
    result: Result[Any] = await connection.execute(MEMBERS.where(members.c.user_id == user_id))
    return result.one_or_none()


async def lock_owners(connection: AsyncConnection) -> set[UUID]:
    """Return the members that are owners now, and let nobody change them until this transaction ends."""
    statement = select(members.c.id).where(members.c.role_code == "owner").order_by(members.c.id).with_for_update()
    return set((await connection.execute(statement)).scalars())


async def change(connection: AsyncConnection, member_id: UUID, values: Mapping[str, Any]) -> Row[Any] | None:
    """Change a member and return it; None when there is no such member."""
    statement = update(members).where(members.c.id == member_id).values(**values, updated_at=text("now()"))
    await connection.execute(statement)
    return await get(connection, member_id)


async def remove(connection: AsyncConnection, member_id: UUID) -> UUID | None:
    """Delete a member and return whose membership it was; None when there is no such member."""
    statement = delete(members).where(members.c.id == member_id).returning(members.c.user_id)
    return (await connection.execute(statement)).scalar_one_or_none()
