"""The plan: what is missing, from where it would come, what would be executed, and what is refused and why."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..manifest.node_catalogue import NodeCatalogue
from .fetch import Fetcher
from .lines import Line
from .plan_models import plan_models
from .plan_packs import plan_packs


@dataclass(frozen=True)
class Plan:
    """The lines of a plan, by id. Nothing of it is done before a person approves it."""

    id: str
    lines: dict[str, Line]

    def to_dict(self) -> dict[str, Any]:
        """The plan as the page shows it."""
        return {"id": self.id, "lines": [line.to_dict() for line in self.lines.values()]}


async def make_plan(
    graph: Mapping[str, Any],
    page_knows: Collection[str],
    machine: NodeCatalogue,
    fetcher: Fetcher,
    registry: str | None,
    *,
    packs: bool,
    models: bool,
) -> Plan:
    """Plan for a UI-format graph. The hosts that it names are asked for sizes and commits; nothing is downloaded."""
    pack_lines, model_lines = await asyncio.gather(
        plan_packs(graph, page_knows, machine, fetcher, registry) if packs else _nothing(),
        plan_models(graph, machine, fetcher) if models else _nothing(),
    )
    return Plan(secrets.token_hex(8), {line.id: line for line in (*pack_lines, *model_lines)})


async def _nothing() -> list[Any]:
    return []
