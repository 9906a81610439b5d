"""SQL of the GPU catalogue, and what its list can be filtered and sorted by."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert

from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workers.gpus.schemas import Gpu
from runflow.workers.queries import online
from runflow.workers.tables import gpus, workers

WORKERS_ONLINE = (
    select(func.count()).select_from(workers).where(workers.c.gpu_code == gpus.c.code, online()).scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class GpuRow:
    """A row of `gpus`, with how many workers of the class are connected."""

    code: str
    name: str
    memory_gb: int
    price_per_second: Decimal
    sort_order: int
    workers_online: int


def selection() -> Select[Any]:
    """Select the catalogue as `GpuRow` has it."""
    return select(gpus, WORKERS_ONLINE.label("workers_online"))


async def by_code(transaction: Transaction, code: str) -> GpuRow | None:
    """Return one class, with its workers."""
    return await transaction.first(selection().where(gpus.c.code == code), row=GpuRow)


async def change(transaction: Transaction, code: str, values: dict[str, Any]) -> bool:
    """Change a class; False when there is none of this code."""
    return await transaction.change(update(gpus).where(gpus.c.code == code).values(**values)) > 0


async def put(transaction: Transaction, code: str, values: dict[str, Any]) -> None:
    """Make a class, or change it. A new one needs no name: it gets its code."""
    new = {"name": code, "memory_gb": 0, "price_per_second": 0, "sort_order": 100, **values}
    statement = insert(gpus).values(code=code, **new)
    if values:
        await transaction.run(statement.on_conflict_do_update(index_elements=["code"], set_=values))
    else:
        await transaction.run(statement.on_conflict_do_nothing())


async def everything(transaction: Transaction) -> list[GpuRow]:
    """Return the whole catalogue in order."""
    return await transaction.rows(selection().order_by(gpus.c.sort_order, gpus.c.code), row=GpuRow)


_MEET = """
    INSERT INTO gpus (code, name, memory_gb, price_per_second, sort_order)
    VALUES (%(code)s, coalesce(%(name)s, %(code)s), %(memory_gb)s, 0, 100) ON CONFLICT DO NOTHING
"""


async def meet(transaction: Transaction, *, code: str, name: str | None, memory_gb: int) -> None:
    """Take a class into the catalogue, without a price, because a worker of it has come."""
    await transaction.run(_MEET, {"code": code, "name": name, "memory_gb": memory_gb})


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
