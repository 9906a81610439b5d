"""One resolution by uv: requirements in, a lock with a hash for every file out."""

import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from runflow.worker.runtime.commands import CommandFailed, InstallError, run, without_credentials
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.torch_build import TRIO

_PINNED = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:==(?P<version>[^\s;\\]+)| @ (?P<wheel>\S+))(?P<rest>.*(?:\n[ #].*)*)",
    re.MULTILINE,
)
"""A package of a lock; one that was built here stands there with its wheel."""
_LACKS_WHEELS = re.compile(
    r"Wheels are required for `(?P<hinted>[A-Za-z0-9][A-Za-z0-9._-]*)`|"
    r"\b(?P<named>[A-Za-z0-9][A-Za-z0-9._-]*)(?:[=<>!][^ ]*)? ha(?:s|ve) no usable wheels"
)
_MOST_CHARACTERS = 2_000
"""Most of uv's own words that are passed on."""
_NO_CONFIG, _CONFIG_FILE = "UV_NO_CONFIG", "UV_CONFIG_FILE"
_TRUE = ("1", "true", "yes", "on", "y", "t")


class NoSolution(Exception):  # an answer to a question that the resolver asks, never shown as it is
    """uv found no set of packages. `words` are its own, the last lines of them.

    `without_wheels`: packages that it could not take, for they come as source alone.
    """

    def __init__(self, words: str) -> None:
        """Keep the words."""
        found = (one["hinted"] or one["named"] for one in _LACKS_WHEELS.finditer(words))
        self.without_wheels = frozenset(canonicalize_name(name) for name in found)
        self.words = words[-_MOST_CHARACTERS:]
        super().__init__(self.words)


class ResolutionFailed(InstallError):
    """No set of packages could be found. `packs` are those to blame, none where it was no pack's fault."""

    def __init__(self, message: str, packs: Sequence[str] = ()) -> None:
        """Keep whom to blame."""
        self.packs = tuple(packs)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A package of an index that comes as source alone: the file that is to be built, and its hash where that is told.

    `packs` are those that want it, as far as that is known.
    """

    name: str
    version: str
    file: str
    sha256: str | None = None
    packs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A set of packages: the lock's text, and name → version. torch and what belongs to it are left out.

    `sources`: those that have to be built before there is a lock, which is empty until then.
    """

    lock: str
    packages: dict[str, str]
    sources: tuple[SourcePackage, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What uv is asked: requirements, what must hold besides, and what replaces requirements of others.

    `deep`: with what the requirements depend on; else there is no lock.
    """

    requirements: Sequence[Requirement]
    constraints: Sequence[str] = ()
    overrides: Sequence[str] = ()
    deep: bool = True


@dataclass(frozen=True, slots=True)
class Compiler:
    """uv for one environment. Files go into `scratch`; `env` is added to its environment; `seconds`: for each run.

    `left_out` of locks are packages that are there already.

    It runs no code of a package: of one that comes as source alone uv is told that it needs nothing, until it was built
    and its wheel says what it does need.
    """

    environment: Environment
    scratch: Path
    seconds: float
    env: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = TRIO

    def compile(self, question: Question, sources: Collection[str] = ()) -> Compiled:
        """Resolve with wheels, but for the packages `sources`, which may have none. Raises NoSolution."""
        if sources or not question.deep:
            found = self._without_lock(question, sources)
            if found.sources or not question.deep:
                return found
        return self._locked(question)

    def _without_lock(self, question: Question, sources: Collection[str]) -> Compiled:
        exceptions = [part for name in sorted(sources) for part in ("--no-binary", name)]
        document = tomllib.loads(self._compile(question, "pylock.toml", *exceptions, without_wheels=sources))
        packages: dict[str, str] = {}
        found: list[SourcePackage] = []
        for package in document.get("packages", []):
            name = canonicalize_name(package["name"])
            if name in TRIO:
                continue
            place = _place_of(package.get("archive") or package.get("sdist") or {})
            version = package.get("version")
            if not version and not place.endswith(".whl"):
                raise ResolutionFailed(f"The index tells no version of the source package {name}. Name another index.")
            packages[name] = str(version) if version else _version_of(place)
            if name in sources and (sdist := package.get("sdist")):
                file = PurePosixPath(unquote(urlsplit(place).path)).name
                found.append(SourcePackage(name, packages[name], file, sdist.get("hashes", {}).get("sha256")))
        return Compiled("", packages, tuple(found))

    def _locked(self, question: Question) -> Compiled:
        hidden = [part for name in self.left_out for part in ("--no-emit-package", name)]
        flags = ("--generate-hashes", "--no-annotate", *hidden)
        lock = self._compile(question, "requirements.txt", *flags)
        found = list(_PINNED.finditer(lock))
        built = {one.partition(" @ ")[2] for one in question.constraints if " @ " in one}
        for match in found:
            if match["wheel"] and match["wheel"] not in built:
                raise ResolutionFailed(
                    f"{match['name']} is asked for from {without_credentials(match['wheel'])[:300]}, an address that "
                    "nobody has approved. Remove what asks for it."
                )
            if "--hash=" not in match["rest"]:
                raise ResolutionFailed(
                    f"{match['name']} cannot be locked: its index tells no hash and no file of it could be read. Name "
                    "another index, or remove what asks for it."
                )
        return Compiled(lock, {match["name"]: match["version"] or _version_of(match["wheel"]) for match in found})

    def _compile(self, question: Question, form: str, *arguments: str, without_wheels: Collection[str] = ()) -> str:
        if self.environment.uv is None:
            raise InstallError("Packages cannot be resolved: uv is not installed. Install it beside Runflow with pip.")
        output = self.scratch / form
        output.unlink(missing_ok=True)  # uv would prefer what stands in it
        command: list[str | Path] = [self.environment.uv, "pip", "compile", "--quiet", "--no-header"]
        command += ["--python", self.environment.python, *self.environment.indexes.arguments_for_uv]
        command += ["--only-binary", ":all:", *arguments, *([] if question.deep else ["--no-deps"])]
        command += ["--constraint", self._file("constraints.txt", question.constraints)]
        command += ["--override", self._file("overrides.txt", question.overrides)]
        command += ["--format", form, "--output-file", output, self._file("requirements.in", question.requirements)]
        env = {**os.environ, **self.environment.indexes.environment_for_uv(), **self.env, "PYTHONPATH": ""}
        folder = self.scratch
        if without_wheels:
            folder, options = self._told(without_wheels, env)
            command += options
        try:
            run(command, what="Resolving packages with uv", env=env, cwd=folder, timeout=self.seconds, alone=True)
        except CommandFailed as error:
            if error.code == 1:  # "no solution"; other codes tell of the network, the disk or ourselves
                raise NoSolution(error.tail) from None
            raise ResolutionFailed(f"The packages could not be resolved, through no fault of a pack. {error}") from None
        return output.read_text(encoding="utf-8")

    def _told(self, without_wheels: Collection[str], env: dict[str, str]) -> tuple[Path, list[str | Path]]:
        """Write settings by which these packages need nothing; return the folder and the options that uv needs.

        The operator's own settings hold beside them. What would take them back goes from `env`: packages' code would
        run then. Raises InstallError where the operator's cannot be read.
        """
        folder = self.scratch / "told"
        folder.mkdir(exist_ok=True)
        path = folder / "uv.toml"
        stubs = "".join(f'[[dependency-metadata]]\nname = "{name}"\nrequires-dist = []\n' for name in without_wheels)
        no_config, named = env.pop(_NO_CONFIG, ""), env.pop(_CONFIG_FILE, "")
        is_alone = no_config.lower() in _TRUE
        try:
            own = Path(named).read_text(encoding="utf-8") if named and not is_alone else ""
            tomllib.loads(f"{own}\n{stubs}")
        except (OSError, ValueError) as error:
            raise InstallError(f"The settings of uv in {named} cannot be used: {error}") from None
        path.write_text(f"{own}\n{stubs}", encoding="utf-8")
        return folder, ["--config-file", path] if named or is_alone else []

    def _file(self, name: str, lines: Sequence[object]) -> Path:
        path = self.scratch / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path


def _place_of(file: Mapping[str, Any]) -> str:
    return str(file.get("url") or file.get("path") or "")


def _version_of(wheel: str) -> str:
    return str(parse_wheel_filename(PurePosixPath(unquote(urlsplit(wheel).path)).name)[1])
