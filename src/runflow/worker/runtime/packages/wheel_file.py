"""Look at a wheel that a stranger's build made, before anybody installs it."""

import re
import stat
import zipfile
import zlib
from email.parser import BytesHeaderParser
from pathlib import Path

from runflow.graph.media import path_fault

MOST_BYTES = 4 << 30
"""Of a wheel, and of all that is in it together."""
_MOST_MEMBERS = 200_000
_MOST_METADATA_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_FILE_NAME = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-[0-9][A-Za-z0-9_.]*)?(-[A-Za-z0-9_.]+){3}\.whl")
_SAME_WORDS = (("alpha", "a"), ("beta", "b"), ("preview", "rc"), ("pre", "rc"), ("rev", "post"))
_SEPARATED = re.compile(r"[-_.]*(a|b|rc|c|post|dev)[-_.]*(?=\d|\.|$)")


class WheelRefused(Exception):
    """A file is no wheel that can be taken; the message says why, in a sentence that begins with its name."""


def same_name(one: str, other: str) -> bool:
    """Tell whether two names are those of one project."""
    return _plain(one) == _plain(other)


def same_version(one: str, other: str) -> bool:
    """Tell whether two spellings are those of one version (1.0 and 1.0.0, 1.0-alpha.1 and 1.0a1)."""
    return _version(one) == _version(other)


def check_wheel(path: Path, name: str, version: str | None) -> None:
    """See that a file is a whole wheel of this project and version (None: of any), and writes nowhere but below itself.

    Nobody else may write to it meanwhile. Raises `WheelRefused`.
    """
    if not _FILE_NAME.fullmatch(path.name):
        raise WheelRefused(f"{path.name!r} is not named like a wheel.")
    named, versioned = path.name.split("-")[:2]
    _compare(path.name, named, versioned, name, version)
    if path.stat().st_size > MOST_BYTES:
        raise WheelRefused(f"{path.name} is larger than {MOST_BYTES} bytes.")
    try:
        with zipfile.ZipFile(path) as wheel:
            _check_members(path.name, wheel)
            metadata = _metadata(path.name, wheel, f"{named}-{versioned}")
            for info in wheel.infolist():
                with wheel.open(info) as member:
                    while member.read(_CHUNK_BYTES):
                        pass
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise WheelRefused(f"{path.name} is no whole archive: {error}.") from None
    _compare(path.name, metadata.get("Name", ""), metadata.get("Version", ""), name, version or versioned)


def _compare(file: str, found: str, found_version: str, name: str, version: str | None) -> None:
    if not same_name(found, name):
        raise WheelRefused(f"{file} is the project {found!r}, and not {name!r}, which was asked for.")
    if version is not None and not same_version(found_version, version):
        raise WheelRefused(f"{file} is version {found_version!r}, and not {version!r}, which was asked for.")


def _check_members(file: str, wheel: zipfile.ZipFile) -> None:
    members = wheel.infolist()
    if len(members) > _MOST_MEMBERS:
        raise WheelRefused(f"{file} has more than {_MOST_MEMBERS} entries.")
    if sum(info.file_size for info in members) > MOST_BYTES:
        raise WheelRefused(f"{file} holds more than {MOST_BYTES} bytes.")
    seen: set[str] = set()
    for info in members:
        fault = path_fault(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if fault is None and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = "it is neither a file nor a folder"
        if fault is None and info.filename in seen:
            fault = "it is there twice"
        if fault is not None:
            raise WheelRefused(f"{file} has the entry {info.filename!r}, which is not acceptable: {fault}.")
        seen.add(info.filename)


def _metadata(file: str, wheel: zipfile.ZipFile, stem: str) -> dict[str, str]:
    """Return the headers of its one METADATA."""
    infos = {top for top in (name.partition("/")[0] for name in wheel.namelist()) if top.endswith(".dist-info")}
    if len(infos) != 1:
        raise WheelRefused(f"{file} has {len(infos)} folders that end with .dist-info, and must have one.")
    (info,) = infos
    found, _, version = info.removesuffix(".dist-info").rpartition("-")
    name, _, wanted = stem.rpartition("-")
    if not (same_name(found, name) and same_version(version, wanted)):
        raise WheelRefused(f"{file} has the folder {info!r}, which is another one's.")
    for part in ("METADATA", "WHEEL", "RECORD"):
        if f"{info}/{part}" not in wheel.namelist():
            raise WheelRefused(f"{file} has no {info}/{part}.")
    with wheel.open(f"{info}/METADATA") as member:
        headers = BytesHeaderParser().parsebytes(member.read(_MOST_METADATA_BYTES))
    for wants in headers.get_all("Requires-Dist", []):
        if "@" in str(wants).partition(";")[0]:
            raise WheelRefused(f"{file} requires {str(wants)[:200]!r}, which names an address instead of a package.")
    return {name: str(value) for name, value in headers.items()}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _version(text: str) -> tuple[str, str]:
    public, _, local = text.strip().lower().removeprefix("v").partition("+")
    for word, short in _SAME_WORDS:
        public = public.replace(word, short)
    public = _SEPARATED.sub(lambda found: "rc" if found[1] == "c" else f".{found[1]}", public)
    release = re.match(r"(\d+!)?[0-9.]*", public)
    assert release is not None
    parts = re.sub(r"(\.0+)+\.?$", "", release[0].rstrip("."))
    return f"{parts}|{public[release.end() :].lstrip('.')}", re.sub(r"[-_]", ".", local)
