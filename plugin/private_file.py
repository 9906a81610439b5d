"""Files that only their owner may read, replaced in one step.

On Windows the mode has no effect; there the user's profile keeps others out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600; whoever reads meanwhile gets the old content or the new, never a part.

    Raises:
        OSError: it cannot be written; the old file is unchanged.
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)  # noqa: PTH105 (replaces on Windows too)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
