"""Dates in a file name's prefix, as ComfyUI's own saving nodes know them: `%date:yyyy-MM-dd%`, `%year%` and the like.

Filled in when the file is saved, so that a deployed workflow does not go on writing the day of its deployment.
"""

from __future__ import annotations

import re
from datetime import datetime

_TOKEN = re.compile(r"%(?:date:([^%]+)|(year|month|day|hour|minute|second))%")
_PART = re.compile(r"yyyy|yy|dd?|MM?|hh?|mm?|ss?")


def fill_in(prefix: str, now: datetime) -> str:
    """The prefix with every date in it written out; what is no date stays."""

    def written(found: re.Match[str]) -> str:
        form, word = found.groups()
        if word:
            return f"{getattr(now, word):02d}"
        return _PART.sub(lambda part: _number(part[0], now), form)

    return _TOKEN.sub(written, prefix)


def _number(part: str, now: datetime) -> str:
    if part[0] == "y":
        return f"{now.year:04d}"[-len(part) :]
    value = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}[part[0]]
    return str(value).zfill(len(part))
