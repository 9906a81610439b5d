"""How fast something goes: over the last few seconds, so that a pause shows and a start does not lie."""

from __future__ import annotations

import time
from collections import deque

_WINDOW_SECONDS = 5.0
_STEP_SECONDS = 0.2


class Speed:
    """Amounts over time."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, amount: int, now: float | None = None) -> None:
        """Note how much is done in all, at a time in seconds (default: now)."""
        now = time.monotonic() if now is None else now
        if len(self._points) > 1 and now - self._points[-2][0] < _STEP_SECONDS:
            self._points.pop()
        self._points.append((now, amount))
        while len(self._points) > 2 and now - self._points[0][0] > _WINDOW_SECONDS:
            self._points.popleft()

    def rate(self) -> float | None:
        """The amount per second, None while it cannot be told."""
        if len(self._points) < 2:
            return None
        (begin, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - begin) if end > begin else None
