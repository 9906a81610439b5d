"""How much memory an owned engine may use."""

from pathlib import Path

import psutil

_SHARE = 0.9
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def default_limit_bytes() -> int:
    """Return nine tenths of the memory of this machine, or of the container that we are in."""
    sizes = [psutil.virtual_memory().total]
    for name in _CGROUP_LIMITS:
        try:
            sizes.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or the word `max`
            continue
    return int(min(sizes) * _SHARE)
