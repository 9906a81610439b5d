"""Unpack a source archive that others made: files and folders only, nothing outside of its folder.

Written out because Python gained `tarfile`'s data filter in 3.11.4, and Debian 12 has 3.11.2.
"""

import shutil
import tarfile
from pathlib import Path

from runflow.graph.media import path_fault
from runflow.worker.runtime.errors import InstallError

_PERMISSIONS = 0o755


def unpack(path: Path, target: Path) -> None:
    """Unpack a .tar, .tar.gz or .tar.xz. Links and devices are left out. Raises InstallError."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _unpack_member(archive, member, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InstallError(f"{path} cannot be unpacked: {error}.") from None


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if not (member.isfile() or member.isdir()):
        return
    fault = path_fault(member.name)
    if fault is not None:
        raise tarfile.TarError(f"its entry {member.name!r} is not acceptable: {fault}")
    place = target / member.name
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    with content, place.open("wb") as file:
        shutil.copyfileobj(content, file)
    place.chmod((member.mode & _PERMISSIONS) | 0o600)
