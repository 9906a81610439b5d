"""Build a wheel from source: the stranger's code of that runs confined, without a network, and its wheel is checked."""

import asyncio
import bz2
import gzip
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from packaging.requirements import InvalidRequirement

from runflow.worker.engine.boundary import Budget, BudgetSpent, Folder, NotAFile, open_own
from runflow.worker.engine.isolation.rungs import Sandbox
from runflow.worker.engine.isolation.view import folders_of_python
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.confined.confined import Limits, remove_folder, run_confined
from runflow.worker.runtime.packages.requirements import MOST_CHARACTERS, plain_requirement
from runflow.worker.runtime.packages.wheel_file import MOST_BYTES, WheelRefused, check_wheel

DEFAULT_REQUIREMENTS = ("setuptools", "wheel")
"""Of a source that does not say what builds it."""
_MOST_PYPROJECT_BYTES = 1 << 20
_MOST_ARCHIVE_BYTES = 4 << 30
MOST_REQUIREMENTS = 200
"""Most packages that a source may be built with."""
_MOST_LEFT = 100
"""How many files a build may leave beside its wheel, before we look no further."""
_NO_REQUIREMENT = re.compile(r"--|[@/\\\x00-\x1f]")
_OPEN_TARS: dict[str, Callable[..., Any]] = {
    ".tgz": gzip.open,
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".tar": open,
}
_FULL = re.compile(r"No space left|Disk quota")
_PYPROJECT = "pyproject.toml"
_LACKING = (
    (
        re.compile(
            r"(?:unable to execute|command|No such file or directory:) '?(?:[^\s']*/)?((?:x86_64|aarch64)\S*-)?"
            r"(?P<what>g?cc|[gc]\+\+|clang(?:\+\+)?|gfortran|cmake|ninja|make|cargo|rustc|swig)\b"
        ),
        "It needs the program `{what}`, which a build here does not find. Install it on this worker.",
    ),
    (
        re.compile(r"(?P<what>CUDA_HOME|nvcc)\b"),
        "It needs CUDA's compiler (its output names {what}), which a build here does not find.",
    ),
    (
        re.compile(r"(?:ModuleNotFoundError: No module named|ImportError: cannot import name) '(?P<what>[^']{1,80})'"),
        "It imports {what} while it is built, and does not declare that it is built with it.",
    ),
    (re.compile(r"fatal error: (?P<what>[\w/.+-]{1,80}): No such file"), "It needs the header {what} of a library."),
)
"""What the output of a build says that it lacks, and what that means."""


class WheelBuildFailed(InstallError):
    """A wheel could not be built. `step`: requirements, source, build or wheel; `tail`: the end of what was printed."""

    def __init__(self, what: str, step: str, why: str, tail: str = "", log: Path | None = None) -> None:
        """Say what failed at which step, why, and what to do next."""
        self.step = step
        self.tail = tail
        # A stranger's code failed: whatever it says of a network, it has none, and would fail again.
        self.may_pass = _FULL.search(f"{why}\n{tail}") is not None
        said = f"\n{tail}" if tail else ""
        place = f" All that it printed is in {log}." if log else ""
        super().__init__(
            f"Building a wheel of {what} failed at the step `{step}`: {why}{said}\nTake a version that has a wheel for "
            f"this machine, or leave out what requires it.{place}"
        )


async def build_wheel(
    source: Path,
    *,
    name: str,
    version: str | None,
    python: Path,
    uv: Path | None,
    build_requires_wheels: Path,
    into: Path,
    log: Path | IO[bytes],
    limits: Limits | None = None,
    sandbox: Sandbox | None = None,
) -> Path:
    """Build the wheel of a source archive or tree, and return its place in the folder `into`.

    `build_requires_wheels` is a folder of wheels, which any user may read from then on; it has what
    `build_requirements` names. `version` is None where any will do. `uv` builds, or `python` with its pip where that is
    None. Raises `WheelBuildFailed`, and `BuildsNotConfined` where nothing is built here.
    """
    limits = limits or Limits()
    what = name if version is None else f"{name} {version}"
    log_path = log if isinstance(log, Path) else None
    work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".wheel-", dir=into.parent))
    try:
        try:
            placed = await asyncio.to_thread(_place_source, source, work)
        except (OSError, shutil.Error) as error:
            raise WheelBuildFailed(what, "source", f"{source} cannot be copied: {error}.") from None
        await asyncio.to_thread(_let_others_read, build_requires_wheels)
        command, more = _command(placed, python, uv, build_requires_wheels, work / "dist")
        result = await run_confined(
            command,
            writable=work,
            readable=[*more, *folders_of_python(python, work), build_requires_wheels],
            environment={},
            seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
            disk_bytes=limits.disk_bytes,
            most_processes=limits.most_processes,
            log=log,
            sandbox=sandbox,
        )
        if not result.is_good:
            why = result.why or " ".join([f"it ended with exit code {result.returncode}.", *_lacking(result.tail)])
            raise WheelBuildFailed(what, "build", why, result.tail, log_path)
        try:
            return await asyncio.to_thread(take_wheel, work, name, version, into)
        except WheelRefused as error:
            raise WheelBuildFailed(what, "wheel", str(error), log=log_path) from None
    finally:
        await asyncio.to_thread(remove_folder, work)


def _lacking(tail: str) -> list[str]:
    """Return what a build lacks, by what it printed last: a sentence, or nothing."""
    return [told.format(what=found["what"]) for pattern, told in _LACKING if (found := pattern.search(tail))][:1]


def build_requirements(source: Path) -> list[str]:
    """Return what a source archive or tree says that it is built with, for who fetches it. Runs nothing of it.

    Raises `WheelBuildFailed` where that cannot be read, or is something else than packages of the index.
    """
    try:
        content = _pyproject_of_tree(source) if source.is_dir() else _pyproject_of_archive(source)
        system = {} if content is None else tomllib.loads(content.decode()).get("build-system", {})
    except (OSError, EOFError, ValueError, NotAFile, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise WheelBuildFailed(source.name, "requirements", f"its {_PYPROJECT} cannot be read: {error}") from None
    except RecursionError:
        raise WheelBuildFailed(source.name, "requirements", f"its {_PYPROJECT} is nested too deeply.") from None
    found: Any = system.get("requires") if isinstance(system, dict) else None
    if found is None:
        return list(DEFAULT_REQUIREMENTS)
    if not isinstance(found, list) or len(found) > MOST_REQUIREMENTS:
        raise WheelBuildFailed(source.name, "requirements", "`requires` in [build-system] is no list, or a huge one.")
    for one in found:
        # A line for an installer: it could be an option, or name any host.
        if not isinstance(one, str) or not is_plain(one):
            raise WheelBuildFailed(source.name, "requirements", f"it requires {one!r}, which names no plain package.")
    return found


def is_plain(requirement: str) -> bool:
    """Tell whether a line names a package and its versions, and nothing that an installer would obey."""
    if len(requirement) > MOST_CHARACTERS or _NO_REQUIREMENT.search(requirement):
        return False  # an option, an address or a path, whatever else it could be
    try:
        plain_requirement(requirement)
    except InvalidRequirement:
        return False
    return True


def _pyproject_of_tree(source: Path) -> bytes | None:
    try:
        with open_own(source / _PYPROJECT, _PYPROJECT) as file:
            return _bounded(file.read(_MOST_PYPROJECT_BYTES + 1, 0))
    except FileNotFoundError:
        return None


def _pyproject_of_archive(source: Path) -> bytes | None:
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if _is_pyproject(name):
                    with archive.open(name) as member:
                        return _bounded(member.read(_MOST_PYPROJECT_BYTES + 1))
        return None
    opened = _OPEN_TARS.get(source.suffix)
    if opened is None:
        raise ValueError("it is no source archive by its name.")
    with (
        opened(source, "rb") as packed,
        tarfile.open(fileobj=cast("IO[bytes]", _Bounded(packed)), mode="r|") as archive,
    ):
        for entry in archive:
            if entry.isfile() and _is_pyproject(entry.name):
                content = archive.extractfile(entry)
                assert content is not None
                return _bounded(content.read(_MOST_PYPROJECT_BYTES + 1))
    return None


def _is_pyproject(name: str) -> bool:
    parts = name.removeprefix("./").split("/")
    return len(parts) == 2 and parts[1] == _PYPROJECT


def _bounded(content: bytes) -> bytes:
    if len(content) > _MOST_PYPROJECT_BYTES:
        raise ValueError(f"it is larger than {_MOST_PYPROJECT_BYTES} bytes.")
    return content


class _Bounded:
    """An archive that is read no further than a bound, however small it was packed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _MOST_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it holds more than {_MOST_ARCHIVE_BYTES} bytes.")
        return content


def _place_source(source: Path, work: Path) -> Path:
    """Copy the source to where it is built: builds write into their tree. Links stay links, and lead nowhere there."""
    if source.is_dir():
        return Path(shutil.copytree(source, work / "source", symlinks=True))
    (work / "source").mkdir()
    return Path(shutil.copyfile(source, work / "source" / source.name))


def _let_others_read(folder: Path) -> None:
    """Open a folder of ours with wheels to the user that a build runs as."""
    if os.geteuid() != 0:
        return
    for place, bits in ((folder, 0o005), *((wheel, 0o004) for wheel in folder.glob("*.whl"))):
        mode = place.stat().st_mode
        if mode & bits != bits:
            place.chmod(mode & 0o7777 | bits)


def _command(
    source: Path, python: Path, uv: Path | None, wheels: Path, dist: Path
) -> tuple[Sequence[str | Path], list[Path]]:
    """Return what builds, and what that has to read beside Python."""
    offline = ["--no-index", "--find-links", str(wheels)]
    if uv is not None:
        words = ["build", "--wheel", "--offline", "--no-config", "--no-python-downloads", "--python", str(python)]
        return [uv, *words, *offline, "--out-dir", dist, source], [uv]
    words = ["-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir", "wheel", "--no-deps"]
    return [python, *words, *offline, "--wheel-dir", dist, source], []


def take_wheel(work: Path, name: str, version: str | None, into: Path) -> Path:
    """Copy the one wheel of a build out of its folder, and move it to its place once it was looked at.

    Raises `WheelRefused`, and leaves nothing then.
    """
    copied: Path | None = None
    try:
        with Folder.at(work) as folder, folder.folder("dist") as dist:
            found = [entry.name for entry in dist.entries(Budget(_MOST_LEFT)) if entry.name != ".gitignore"]
            if len(found) != 1:
                raise WheelRefused(f"The build left {len(found)} files, {', '.join(sorted(found)[:5])!r}, and not one.")
            with dist.open_file(found[0]) as wheel:
                if wheel.size_bytes > MOST_BYTES:
                    raise WheelRefused(f"{found[0]!r} is larger than {MOST_BYTES} bytes.")
                copied = Path(tempfile.mkdtemp(prefix=".checked-", dir=into))
                with (copied / found[0]).open("xb") as file:
                    shutil.copyfileobj(wheel.reader(), file, 1 << 20)
        check_wheel(copied / found[0], name, version)
        return (copied / found[0]).replace(into / found[0])
    except NotAFile as error:
        raise WheelRefused(f"The wheel cannot be taken. {error}") from None
    except BudgetSpent:
        raise WheelRefused(f"The build left more than {_MOST_LEFT} files.") from None
    except OSError as error:
        raise WheelRefused(f"The wheel cannot be taken: {error.strerror}.") from None
    finally:
        if copied is not None:
            shutil.rmtree(copied, ignore_errors=True)
