"""From `/system_stats` to what an engine is."""

import re
from collections.abc import Mapping
from typing import Any

from runflow.worker.engine.base import Ability, EngineDescription, EngineKind
from runflow.worker.engine.protocol import ComfyClient

PLUGIN_NODE = "RunflowOutputImage"
_EXACT_INTERRUPT_SINCE = (0, 3, 57)


def version_tuple(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:4])


def abilities_from(stats: Mapping[str, Any]) -> frozenset[Ability]:
    """Return the abilities that version and arguments of a running engine speak for."""
    system = stats.get("system", {})
    argv = system.get("argv") or []
    found = set()
    if "--cache-none" in argv:
        found.add(Ability.CACHE_OFF)
    if "--disable-metadata" in argv:
        found.add(Ability.NO_METADATA)
    if version_tuple(str(system.get("comfyui_version") or "")) >= _EXACT_INTERRUPT_SINCE:
        found.add(Ability.EXACT_INTERRUPT)
    return frozenset(found)


async def read_description(
    client: ComfyClient,
    kind: EngineKind,
    *,
    extra_abilities: frozenset[Ability] = frozenset(),
    isolation: tuple[str, ...] = (),
    nodes: Mapping[str, bool] | None = None,
) -> EngineDescription:
    """Ask a running engine what it is. Raises EngineUnreachable, EngineRefused.

    `nodes` are its classes where they are known: to list 600 of them takes half a second of its time.
    """
    stats = await client.system_stats()
    if nodes is None:
        nodes = await client.object_info()
    system = stats.get("system", {})
    device: Mapping[str, Any] = next(iter(stats.get("devices") or []), {})
    return EngineDescription(
        kind=kind,
        url=client.url,
        version=str(system.get("comfyui_version") or "unknown"),
        python=str(system.get("python_version") or "unknown").split(" ")[0],
        torch=str(system.get("pytorch_version") or "unknown"),
        device_type=str(device.get("type") or "unknown"),
        device_name=_device_name(str(device.get("name") or "unknown")),
        memory_bytes=int(device.get("vram_total") or system.get("ram_total") or 0),
        node_types=frozenset(nodes),
        output_types=frozenset(name for name, is_output in nodes.items() if is_output),
        plugin=PLUGIN_NODE in nodes,
        abilities=abilities_from(stats) | extra_abilities,
        isolation=isolation,
    )


def _device_name(name: str) -> str:
    """Return a device's name undecorated: `cuda:0 NVIDIA L40S : cudaMallocAsync` is an NVIDIA L40S."""
    bare = re.sub(r"^\w+:\d+ ", "", name)
    return bare.split(" : ")[0].strip()
