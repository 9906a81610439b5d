"""How much memory each prompt needed at most: told to the worker in ComfyUI's own message about the prompt's end.

The worker decides by it whether the models of two engines fit into one GPU.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .comfyui import ENDS, START, listen

FIELD = "runflow_peak_memory_bytes"
"""In the data of the messages that end a prompt, and so in its history: bytes."""

_RESET_PEAK = "5"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def watch(server: Any) -> None:
    """Measure every prompt of this server from now on. ComfyUI executes one at a time."""

    def heard(event: Any, data: Any) -> None:
        if event == START:
            begin()
        elif event in ENDS and isinstance(data, dict):
            data[FIELD] = peak()

    listen(server, heard)


def begin() -> None:
    """Measure from here on."""
    for cuda, device in _gpus():
        cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # not Linux, or not allowed here: then it is the peak since the process started
        _CLEAR.write_text(_RESET_PEAK)


def peak() -> int:
    """The most bytes that were needed since `begin`: on the fullest GPU; without one, resident in this process."""
    reserved = [cuda.max_memory_reserved(device) for cuda, device in _gpus()]
    return max(reserved) + _beside_torch() if reserved else _resident()


def _gpus() -> Iterator[tuple[Any, int]]:
    """Torch's interface and number of each GPU that this process has used. Never the first to touch one."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        for device in range(cuda.device_count()):
            yield cuda, device


def _beside_torch() -> int:
    """What newer ComfyUIs hold of models in GPU memory that torch does not know of."""
    usage = getattr(sys.modules.get("comfy_aimdo.control"), "get_total_vram_usage", None)
    return 0 if usage is None else int(usage())


def _resident() -> int:
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) * 1024
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
