"""What a run's log says of a download that takes long."""

import time
from collections.abc import Callable

Tell = Callable[[str], None]
"""Takes a sentence for the run's log."""
EVERY_SECONDS = 10.0
_UNITS = ("bytes", "KB", "MB", "GB", "TB")


class Progress:
    """Tells of the download of one model each `EVERY_SECONDS`."""

    def __init__(self, path: str, tell: Tell) -> None:
        """Tell of the model with this path."""
        self._path = path
        self._tell = tell
        self._began = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Note how many bytes are here, and how many there are in all if that is known."""
        if self._first is None:
            self._first = done
        now = time.monotonic()
        if now - self._told < EVERY_SECONDS:
            return
        self._told = now
        rate = (done - self._first) / (now - self._began)
        of = "" if total is None else f" of {shown(total)}"
        left = f", about {round((total - done) / rate)} s left" if total is not None and rate > 0 else ""
        self._tell(f'Fetching the model "{self._path}": {shown(done)}{of}{left}.')


def shown(size_bytes: float) -> str:
    """Return a size as people read it, such as `6.9 GB`."""
    unit = 0
    while size_bytes >= 1000 and unit < len(_UNITS) - 1:
        size_bytes, unit = size_bytes / 1000, unit + 1
    return f"{size_bytes:.0f} {_UNITS[unit]}" if not unit else f"{size_bytes:.1f} {_UNITS[unit]}"
