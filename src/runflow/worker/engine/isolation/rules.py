"""What an engine may open on the rung Landlock: the same things as in a view of its own, where they lie.

A rule holds for what lies at a path and below it, so nothing can be covered as a view covers it: of a folder of which
a part is nobody's to see, each other part has a rule.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runflow.worker.engine.isolation.view import SCRIPTS, Runtime, covered, mounts

OF_ITSELF = (
    *("stat", "statm", "status", "maps", "smaps", "smaps_rollup", "cmdline", "comm", "auxv"),
    *("cgroup", "limits", "io", "mounts", "mountinfo", "oom_score", "fd", "fdinfo"),
)
"""Of its own /proc: not `net`, which lists the machine's sockets, nor `task`, which holds another `net`."""
_OF_MACHINE = (
    *("meminfo", "cpuinfo", "stat", "version", "filesystems", "uptime", "loadavg", "devices"),
    *("sys/kernel", "sys/vm"),
)
_OF_GPU = ("driver", "modules")
CUSTOM_NODES = "custom_nodes"
"""The folder of node packs below a base folder."""
_NOT_NEEDED = ("/dev/tty",)


class RulesLeadHome(Exception):
    """What an engine has to read holds what it must not; the message says which folder."""


def rules(runtime: Runtime, life: Path, *, network: bool, gpu: bool) -> list[dict[str, str]]:
    """Return the rules for an engine with these folders (`landlock.py` says which rights there are).

    Raises `RulesLeadHome` where the folder of its ComfyUI, say, holds the engines' own.
    """
    found = dict(_rules(runtime, life, network=network, gpu=gpu))
    ours = runtime.base_dir.resolve()
    for place, rights in found.items():
        if rights != "list" and Path(place).resolve() in (ours, *ours.parents):
            raise RulesLeadHome(f"{place}, which an engine has to read, holds the folder of the engines, {ours}")
    return [{"at": place, "rights": rights} for place, rights in found.items()]


def _rules(runtime: Runtime, life: Path, *, network: bool, gpu: bool) -> Iterator[tuple[str, str]]:
    view = mounts(runtime, lives=life.parent, life=life, network=network, gpu=gpu, layered=False, owner=None)
    for mount in view:
        if mount["kind"] == "bind" and mount["at"] == str(runtime.comfy_dir):
            yield from _comfyui(runtime.comfy_dir)
        else:
            yield from _rule(mount)
    # By the name that it is imported by, too: of a link the target has a rule.
    yield str(runtime.base_dir / CUSTOM_NODES), "read"
    yield str(runtime.base_dir / "serving.py"), "look"
    yield from _of_processes(gpu=gpu)


def rules_of_build(view: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the rules for a command that would have this view (`view.mounts_of_build`)."""
    found = dict(rule for mount in view for rule in _rule(mount))
    found.update(_of_processes(gpu=False))
    return [{"at": place, "rights": rights} for place, rights in found.items()]


def _of_processes(*, gpu: bool) -> Iterator[tuple[str, str]]:
    for names, folder in ((OF_ITSELF, "/proc/self"), (_OF_MACHINE, "/proc"), (_OF_GPU if gpu else (), "/proc")):
        for name in names:
            yield f"{folder}/{name}", "look"


def _rule(mount: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is mounted of the machine has a rule; of the rest there is nothing to open."""
    if mount["kind"] != "bind" or mount["at"] in _NOT_NEEDED:
        return
    if mount["devices"]:
        yield mount["source"], "device"
    elif mount["at"] == SCRIPTS:
        yield mount["source"], "look"
    else:
        yield mount["source"], "write" if mount["writable"] else "read"


def _comfyui(folder: Path) -> Iterator[tuple[str, str]]:
    """Every part but what somebody left who used it by hand. Python has to list the folder, and so what is below it."""
    hidden = covered(folder)
    yield str(folder), "list"
    for entry in sorted(folder.iterdir()):
        if entry.name not in hidden:
            yield str(entry), "read"


def link_nodes(life: Path, base: Path) -> None:
    """Let a life have the node packs of the base folder, where no view puts them there."""
    (life / CUSTOM_NODES).symlink_to(base / CUSTOM_NODES, target_is_directory=True)
