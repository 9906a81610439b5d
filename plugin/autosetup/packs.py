"""Installing one pack of custom nodes: fetched aside, its packages installed as approved, moved into place in one step.

None of its scripts is run. Whatever fails before the move leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from ..cancellation import unless_cancelled
from . import git
from .archive import unpack
from .commands import CommandFailed
from .fetch import Fetcher, FetchFailed
from .lines import PackLine
from .packages import Requirements, install, read_requirements
from .repository import pinned_addresses
from .safe_paths import PathRefused

Progress = Callable[[str, int, int], None]
Ask = Callable[[Requirements], Awaitable[bool]]
"""Shows the person packages that the plan could not announce; True: install them."""

_ASIDE = ".runflow-"
# ComfyUI leaves folders with this ending alone, so a half-made pack is never imported.
_OFF = ".disabled"
_MAX_ARCHIVE = 512 << 20
_MAX_REQUIREMENTS = 1 << 20


class LeftOut(Exception):
    """The person did not want the pack after all."""


async def install_pack(
    line: PackLine,
    fetcher: Fetcher,
    cancelled: threading.Event,
    progress: Progress,
    ask: Ask,
    installer: list[str] | None = None,
) -> None:
    """Install the pack of an approved line.

    Raises:
        LeftOut: its packages were not approved.
        SourceRefused, FetchFailed, CommandFailed, ArchiveRefused, PathRefused: it is not there, and why.
        Cancelled: `cancelled` was set.
    """
    place = line.folder / line.name
    _refuse_existing(place)
    with _aside(line.folder) as aside:
        made = aside / line.name
        if line.method == "git":
            source = fetcher.sources.check(line.url)
            pins = await unless_cancelled(pinned_addresses(source), cancelled)
            assert line.commit is not None
            await asyncio.to_thread(git.clone, source, pins, line.commit, made, cancelled, progress)
        else:
            archive = aside / "archive"
            await unless_cancelled(_download(line, fetcher, archive, progress), cancelled)
            progress("Unpacking", 0, 0)
            await asyncio.to_thread(_unpack, line, archive, made, cancelled)
        wanted = await asyncio.to_thread(_requirements, made)
        if not _is_announced(wanted, line.expected) and not await ask(wanted):
            raise LeftOut
        if wanted.plain:
            progress("Installing packages", 0, 0)
            await asyncio.to_thread(
                install, wanted.plain, cancelled, lambda text: progress(_short(text), 0, 0), installer
            )
        _refuse_existing(place)
        await asyncio.to_thread(made.rename, place)


def clean_up(folder: Path) -> None:
    """Remove what an Auto setup that was killed left in a folder of custom nodes."""
    for left in folder.glob(f"{_ASIDE}*{_OFF}"):
        _remove(left)


async def _download(line: PackLine, fetcher: Fetcher, archive: Path, progress: Progress) -> None:
    assert line.archive is not None
    done = 0
    async with fetcher.get(line.archive) as answer:
        total = answer.content_length or 0
        with archive.open("wb") as file:
            try:
                async for chunk in answer.content.iter_chunked(1 << 20):
                    done += len(chunk)
                    if done > _MAX_ARCHIVE:
                        raise FetchFailed("The archive is too large for a custom node.")
                    await asyncio.to_thread(file.write, chunk)
                    progress("Downloading", done, total)
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                raise FetchFailed("The connection broke off.") from error
    if total and done != total:
        raise FetchFailed("The connection broke off.")


def _unpack(line: PackLine, archive: Path, folder: Path, cancelled: threading.Event) -> None:
    paths = unpack(archive, folder, cancelled)
    if line.version is not None:
        # As the registry's own tools mark what came from it; the manifest of Deploy reads it too.
        (folder / ".tracking").write_text("\n".join(paths), encoding="utf-8")


def _requirements(folder: Path) -> Requirements:
    file = folder / "requirements.txt"
    try:
        if file.is_symlink() or file.stat().st_size > _MAX_REQUIREMENTS:
            raise CommandFailed("requirements.txt", "of the pack is no file that can be shown")
        return read_requirements(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return Requirements((), ())


def _is_announced(wanted: Requirements, expected: Requirements | None) -> bool:
    """Whether the person has seen all of it in the plan, what is left out included."""
    seen = expected or Requirements((), ())
    return set(wanted.plain) <= set(seen.plain) and set(wanted.left_out) <= set(seen.left_out)


def _refuse_existing(place: Path) -> None:
    taken = {entry.name.casefold() for entry in place.parent.iterdir()}
    if {place.name.casefold(), f"{place.name}{_OFF}".casefold(), f"{place.name}.py".casefold()} & taken:
        raise PathRefused("a pack of this name is there already, and nothing is ever overwritten.")


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix=_ASIDE, suffix=_OFF, dir=folder))
    try:
        yield made
    finally:
        _remove(made)


def _remove(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:  # git's files are read-only, which on Windows keeps them from being removed
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(parent, name), stat.S_IWRITE | stat.S_IREAD)  # noqa: PTH101, PTH118
    shutil.rmtree(folder, ignore_errors=True)


def _short(text: str) -> str:
    return f"Installing packages: {text.strip()[:120]}"
