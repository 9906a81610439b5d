"""The `Range` header of one download (RFC 9110, section 14)."""

import re
from dataclasses import dataclass

from runflow import errors

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a file: from `start` up to, not including, `end`."""

    start: int
    end: int


def parse_range(header: str | None, size: int) -> Stretch | None:
    """Return the asked-for part of a file of `size` bytes, or None for the whole file.

    A header that cannot be read, and one that asks for several parts, is passed over, as the RFC allows. Raises
    `RangeNotSatisfiable` when the part lies past the end.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), size
        if last:
            if int(last) < start:
                return None
            end = min(int(last) + 1, size)
    if start >= end:
        raise errors.RangeNotSatisfiable(
            f"The file has {size} bytes; the `Range` header asks for none of them.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Stretch(start, end)
