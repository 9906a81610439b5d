"""SQL of the GPU catalogue, and what its list can be filtered and sorted by."""

from typing import Any

from sqlalchemy import Row, Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workers.gpus.schemas import Gpu
from runflow.workers.queries import online
from runflow.workers.tables import gpus, workers

WORKERS_ONLINE = (
    select(func.count()).select_from(workers).where(workers.c.gpu_code == gpus.c.code, online()).scalar_subquery()
)


def selection() -> Select[Any]:
    """Select the catalogue, with how many workers of each class are connected."""
    return select(gpus, WORKERS_ONLINE.label("workers_online"))


async def by_code(connection: Transaction, code: str) -> Row[Any] | None:
    """Return one class, with its workers."""
    found: Row[Any] | None = (await connection.execute(selection().where(gpus.c.code == code))).one_or_none()
    return found


async def change(connection: Transaction, code: str, values: dict[str, Any]) -> bool:
    """Change a class; False when there is none of this code."""
    return (await connection.execute(update(gpus).where(gpus.c.code == code).values(**values))).rowcount > 0


async def put(connection: Transaction, code: str, values: dict[str, Any]) -> None:
    """Make a class, or change it. A new one needs no name: it gets its code."""
    new = {"name": code, "memory_gb": 0, "price_per_second": 0, "sort_order": 100, **values}
    statement = insert(gpus).values(code=code, **new)
    if values:
        await connection.execute(statement.on_conflict_do_update(index_elements=["code"], set_=values))
    else:
        await connection.execute(statement.on_conflict_do_nothing())


async def everything(connection: Transaction) -> list[Row[Any]]:
    """Return the whole catalogue in order."""
    return list(await connection.execute(selection().order_by(gpus.c.sort_order, gpus.c.code)))


_MEET = text("""
    INSERT INTO gpus (code, name, memory_gb, price_per_second, sort_order)
    VALUES (:code, coalesce(:name, :code), :memory_gb, 0, 100) ON CONFLICT DO NOTHING
""")


async def meet(connection: Transaction, *, code: str, name: str | None, memory_gb: int) -> None:
    """Take a class into the catalogue, without a price, because a worker of it has come."""
    await connection.execute(_MEET, {"code": code, "name": name, "memory_gb": memory_gb})


GPU_LIST = ListSpec(
    from_=gpus,
    fields=(
        ListField("code", gpus.c.code, FieldKind.STRING),
        ListField("name", gpus.c.name, FieldKind.STRING),
        ListField("memory_gb", gpus.c.memory_gb, FieldKind.INT),
        ListField("price_per_second", gpus.c.price_per_second, FieldKind.DECIMAL),
        ListField("workers_online", WORKERS_ONLINE, FieldKind.INT),
        ListField("sort_order", gpus.c.sort_order, FieldKind.INT),
    ),
    response_fields=frozenset(Gpu.model_fields),
    id_field="code",
    default_sort="sort_order:asc",
)
