"""Rules of the GPU catalogue: everybody reads it, the operator's organization changes it."""

from decimal import Decimal
from typing import Any

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations.identity import require_operator
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services
from runflow.workers.gpus import queries
from runflow.workers.gpus.queries import GPU_LIST, GpuRow
from runflow.workers.gpus.schemas import PatchGpu

CLOUD_PRICES = {
    "L4": Decimal("0.000147"),
    "A10G": Decimal("0.000222"),
    "L40S": Decimal("0.000444"),
    "A100": Decimal("0.000917"),
    "H100": Decimal("0.001250"),
}
"""What GPU clouds typically take, USD per second by class, for an operator who wants to compare. Prices start at 0."""


async def list_gpus(services: Services, query: ListQuery) -> dict[str, Any]:
    """Return a page of the catalogue."""
    async with services.db.system(durable=False) as transaction:
        found = await read_page(transaction, GPU_LIST, query, queries.selection(), row=GpuRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def get(services: Services, code: str, query: RecordQuery) -> dict[str, Any]:
    """Return one class. Raises `GpuNotFound`."""
    check_projection(query, GPU_LIST.response_fields, GPU_LIST.embeds)
    if "\0" in code:
        raise errors.GpuNotFound
    async with services.db.system(durable=False) as transaction:
        row = await queries.by_code(transaction, code)
    if row is None:
        raise errors.GpuNotFound
    return project(record(row), query)


async def patch(services: Services, caller: Principal, code: str, body: PatchGpu) -> dict[str, Any]:
    """Change name or price; attempts that have ended keep their price. Raises `PermissionDenied`, `GpuNotFound`."""
    values = body.model_dump(exclude_unset=True)
    async with services.db.system() as transaction:
        await require_operator(transaction, caller)
        if "\0" in code or await queries.by_code(transaction, code) is None:
            raise errors.GpuNotFound
        if values:
            await queries.change(transaction, code, values)
            told = {name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()}
            await recorder.record(transaction, caller, "gpu.updated", "gpu", code, told)
    return await get(services, code, RecordQuery())


def record(row: GpuRow) -> dict[str, Any]:
    """Return a class as the wire shows it."""
    return {
        "code": row.code,
        "name": row.name,
        "memory_gb": row.memory_gb,
        "price_per_second": row.price_per_second,
        "workers_online": row.workers_online,
        "sort_order": row.sort_order,
    }
