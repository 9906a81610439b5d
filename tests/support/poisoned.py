"""What fails for one row and works for all others: storage that cannot go through one prefix."""

import dataclasses
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

from runflow.web.services import Services


class PoisonedStorage:
    """Storage in which whatever names one text fails; the rest is the storage below."""

    def __init__(self, below: Any, poison: str) -> None:
        self._below = below
        self._poison = poison

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    async def list(self, prefix: str, *, before: datetime | None = None) -> AsyncIterator[str]:
        self._check(prefix)
        async for key in self._below.list(prefix, before=before):
            yield key

    async def delete(self, keys: Iterable[str]) -> None:
        keys = tuple(keys)
        for key in keys:
            self._check(key)
        await self._below.delete(keys)

    def _check(self, text: str) -> None:
        if self._poison in text:
            raise ValueError(f"{text} cannot be read")


def poisoned(services: Services, poison: object) -> Services:
    """Return these services with storage that fails where it meets this text."""
    storage: Any = PoisonedStorage(services.storage, str(poison))
    return dataclasses.replace(services, storage=storage)
