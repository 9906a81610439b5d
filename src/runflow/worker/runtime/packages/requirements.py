"""What Python packages a node pack asks for, read from its files without obeying them: they are a stranger's words.

Asked for is a package by its name, with versions and markers. Where to get it from is the operator's business, so
options, paths and addresses are not followed, and each is named in a note. A git address becomes a source to approve,
like a pack's own.
"""

import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from runflow.protocol.origins import is_commit
from runflow.worker.runtime.commands import InstallError, without_credentials
from runflow.worker.runtime.torch_build import TRIO

MOST_BYTES = 256 * 1024
"""Most bytes of one file; what `ReadFile` is asked for."""
MOST_FILES = 10
"""Most files that a requirements.txt leads to."""
MOST_LINES = 2_000
"""Most lines of one pack."""
MOST_CHARACTERS = 1_000
"""Longest line."""

ReadFile = Callable[[str], bytes | None]
"""Returns a file of the pack's commit by its path, None where there is none."""

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[=\s]\S+")
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s*=\s*|\s+|(?<=-r))(?P<path>\S.*)")
_GIT = re.compile(r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*@\s*)?git\+(?P<url>\S+)(?P<rest>.*)")
_ADDRESS = re.compile(r"://|^[./\\~]|^[A-Za-z]:[\\/]")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tgz|tbz|txz|tlz|tar(?:\.\w+)?)$", re.IGNORECASE)
"""Ends of names that pip and uv take for a file."""


class RequirementsRefused(InstallError):
    """A pack's requirements are too many or too large to be read. The message names the pack, and the next step."""


@dataclass(frozen=True, slots=True)
class GitRequirement:
    """A package that a pack wants from a repository: a source to approve, built to a wheel before it is installed."""

    name: str | None
    origin: str
    ref: str | None
    pack: str
    marker: str | None = None
    subdirectory: str | None = None

    @property
    def commit(self) -> str | None:
        """The commit, where it names one in full; else the `ref` has to be looked up and shown."""
        return self.ref if is_commit(self.ref) else None


@dataclass(frozen=True, slots=True)
class PackRequirements:
    """What a pack asks for. `source` is the file that says so, if there is one; `notes`: what is not followed."""

    pack: str
    source: str | None = None
    requirements: tuple[str, ...] = ()
    git: tuple[GitRequirement, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    pack: str
    read: ReadFile
    requirements: list[str] = field(default_factory=list)
    git: list[GitRequirement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    lines: int = 0


def requirements_of_pack(pack: str, read: ReadFile) -> PackRequirements:
    """Read a pack's requirements.txt, or its pyproject.toml where it has none; never both, for they often disagree.

    Raises RequirementsRefused where they pass the bounds.
    """
    reading = _Reading(pack, read)
    source: str | None = "requirements.txt"
    if not _read_file("requirements.txt", reading):
        source = "pyproject.toml" if _read_project(reading) else None
    unique = tuple(dict.fromkeys(reading.requirements))
    return PackRequirements(pack, source, unique, tuple(reading.git), tuple(reading.notes))


def plain_requirement(line: str) -> Requirement:
    """Return a requirement that is a package's name, versions and marker; raises InvalidRequirement for anything else.

    What ends like an archive is a file to pip and uv, though it could be a name.
    """
    found = Requirement(line)
    if found.url or _ARCHIVE.search(found.name):
        raise InvalidRequirement(f"an address or a path: {line!r}")
    return found


def _read_file(path: str, reading: _Reading) -> bool:
    """Read a file of requirements and those that it includes; return whether it is there."""
    content = reading.read(path)
    if content is None:
        return False
    if len(content) > MOST_BYTES:
        raise RequirementsRefused(
            f"{path} of the pack {reading.pack} has more than {MOST_BYTES:,} bytes. Remove the pack."
        )
    reading.files.add(path)
    for line in _logical_lines(_decoded(content)):
        if included := _INCLUDE.fullmatch(line):
            _include(path, included["path"].strip(), reading)
        else:
            _take(line, path, reading)
    return True


def _include(path: str, name: str, reading: _Reading) -> None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    if target in reading.files:
        return
    if "://" in name or name.startswith("/") or target.startswith("../") or "\\" in name:
        reading.notes.append(f"{path} includes {_shown(name)}, which is no file of the pack; it is not read.")
    elif len(reading.files) >= MOST_FILES:
        raise RequirementsRefused(
            f"{path} of the pack {reading.pack} includes more than {MOST_FILES} files. Remove it."
        )
    elif not _read_file(target, reading):
        reading.notes.append(f"{path} includes {_shown(name)}, which is not there.")


def _read_project(reading: _Reading) -> bool:
    content = reading.read("pyproject.toml")
    if content is None:
        return False
    if len(content) > MOST_BYTES:
        raise RequirementsRefused(f"pyproject.toml of the pack {reading.pack} has more than {MOST_BYTES:,} bytes.")
    try:
        project = tomllib.loads(content.decode("utf-8-sig")).get("project")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        reading.notes.append("pyproject.toml cannot be read; it asks for nothing.")
        return True
    declared = project.get("dependencies") if isinstance(project, dict) else None
    for line in declared if isinstance(declared, list) else ():
        if isinstance(line, str) and line.strip():
            _take(" ".join(line.split()), "pyproject.toml", reading)
    return True


def _take(line: str, path: str, reading: _Reading) -> None:
    """Take one requirement, or note why it is not followed."""
    reading.lines += 1
    if reading.lines > MOST_LINES:
        raise RequirementsRefused(f"The pack {reading.pack} asks for more than {MOST_LINES:,} packages. Remove it.")
    if len(line) > MOST_CHARACTERS:
        raise RequirementsRefused(
            f"{path} of the pack {reading.pack} has a line of over {MOST_CHARACTERS:,} characters."
        )
    if line.startswith("-"):
        if found := re.fullmatch(r"(?:-e|--editable)[\s=]+(git\+.*)", line):
            line = found[1]
        else:
            option = re.split(r"[\s=]", line, maxsplit=1)[0]
            reading.notes.append(f"{path} has the option {_shown(option)}, which is not followed.")
            return
    line = _HASH.sub("", line).strip()
    if found := _GIT.fullmatch(line):
        _take_git(found, path, reading)
        return
    try:
        asked = Requirement(line)
    except InvalidRequirement:
        why = "is an address or a path" if _ADDRESS.search(line) else "cannot be understood"
        reading.notes.append(f"{path} asks for {_shown(line)}, which {why}; it is not followed.")
        return
    if _ARCHIVE.search(asked.name):
        reading.notes.append(f"{path} asks for {_shown(line)}, which is a path; it is not followed.")
    elif asked.url:
        reading.notes.append(f"{path} asks for {asked.name} from an address of its own, which is not followed.")
    elif canonicalize_name(asked.name) in TRIO:
        reading.notes.append(
            f"{path} asks for {_shown(line)}; the runtime's own {canonicalize_name(asked.name)} is what it gets."
        )
    else:
        reading.requirements.append(str(asked))


def _take_git(found: re.Match[str], path: str, reading: _Reading) -> None:
    address, _, fragment = found["url"].partition("#")
    _, separator, after = address.rpartition("@")
    # An @ before the path belongs to the host (`ssh://git@host/x`).
    ref = after if separator and "/" in address.rpartition("@")[0].partition("://")[2] else None
    origin = address.removesuffix(f"@{ref}") if ref is not None else address
    marker = found["rest"].strip().removeprefix(";").strip() or None
    named = parse_qs(fragment)
    name = found["name"] or next(iter(named.get("egg", [])), "").partition("[")[0] or None
    try:
        parts = urlsplit(origin)
        is_secret = parts.password is not None or (parts.scheme != "ssh" and parts.username is not None)
        if marker:
            Requirement(f"x ; {marker}")
    except (ValueError, InvalidRequirement):
        reading.notes.append(f"{path} asks for {_shown(found[0])}, which cannot be understood; it is not followed.")
        return
    if is_secret:
        reading.notes.append(f"{path} asks for {_shown(origin)} with a user or a password; it is not followed.")
        return
    subdirectory = next(iter(named.get("subdirectory", [])), None)
    normalised = canonicalize_name(name) if name else None
    reading.git.append(GitRequirement(normalised, origin, ref, reading.pack, marker, subdirectory))


def _decoded(content: bytes) -> str:
    """Return the text of a file, by its byte order mark as pip does: PowerShell writes UTF-16."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that say something, joined where a backslash ends one, without comments."""
    pending = ""
    for line in [*text.splitlines(), ""]:
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            pending += line[:-1] + " "
            continue
        whole, pending = _COMMENT.sub("", pending + line).strip(), ""
        if whole:
            yield whole


def _shown(text: str) -> str:
    """Return a stranger's words as they may stand in a note."""
    shown = repr(without_credentials(text))
    return shown if len(shown) <= 120 else f"{shown[:117]}…"
