"""One resolution by uv: requirements in, a lock with a hash for every file out."""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from runflow.worker.runtime.commands import CommandFailed, InstallError, run, without_credentials
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.torch_build import TRIO

Confine = Callable[[Sequence[str | Path]], Sequence[str | Path]]
"""Makes of a command one that runs it in a sandbox: what a source package asks for is told by running its code."""

_PINNED = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:==(?P<version>[^\s;\\]+)| @ (?P<wheel>\S+))(?P<rest>.*(?:\n[ #].*)*)",
    re.MULTILINE,
)
"""A package of a lock; one that was built here stands there with its wheel."""
_MOST_CHARACTERS = 2_000
"""Most of uv's own words that are passed on."""


class NoSolution(Exception):  # an answer to a question that the resolver asks, never shown as it is
    """uv found no set of packages. `words` are its own, the last lines of them."""

    def __init__(self, words: str) -> None:
        """Keep the words."""
        self.words = words[-_MOST_CHARACTERS:]
        super().__init__(self.words)


class ResolutionFailed(InstallError):
    """No set of packages could be found. `packs` are those to blame, none where it was no pack's fault."""

    def __init__(self, message: str, packs: Sequence[str] = ()) -> None:
        """Keep whom to blame."""
        self.packs = tuple(packs)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A set of packages: the lock's text, and name → version. torch and what belongs to it are left out."""

    lock: str
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """What uv is asked: requirements, what must hold besides, and what replaces requirements of others."""

    requirements: Sequence[Requirement]
    constraints: Sequence[str] = ()
    overrides: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Compiler:
    """uv for one environment. Files go into `scratch`; `env` is added to its environment; `seconds`: for each run."""

    environment: Environment
    scratch: Path
    seconds: float
    env: Mapping[str, str] = field(default_factory=dict)
    confine: Confine | None = None

    def from_wheels(self, question: Question, sources: Collection[str] = ()) -> Compiled:
        """Resolve with wheels only, but for the packages of `sources`, which are built. Raises NoSolution."""
        exceptions = [part for name in sorted(sources) for part in ("--no-binary", name)]
        return self._locked(question, "--only-binary", ":all:", *exceptions, runs_code=bool(sources))

    def from_anything(self, question: Question) -> Compiled:
        """Resolve with source packages too, whose code runs to tell what they need. Raises NoSolution."""
        return self._locked(question, runs_code=True)

    def without_wheels(self, question: Question) -> set[str]:
        """Return which packages of the resolution with source packages have no wheel for the environment."""
        document = tomllib.loads(self._compile(question, "pylock.toml", runs_code=True))
        return {package["name"] for package in document.get("packages", []) if not package.get("wheels")} - set(TRIO)

    def _locked(self, question: Question, *arguments: str, runs_code: bool) -> Compiled:
        hidden = [part for name in TRIO for part in ("--no-emit-package", name)]
        flags = ("--generate-hashes", "--no-annotate", *hidden, *arguments)
        lock = self._compile(question, "requirements.txt", *flags, runs_code=runs_code)
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

    def _compile(self, question: Question, form: str, *arguments: str, runs_code: bool) -> str:
        if self.environment.uv is None:
            raise InstallError("Packages cannot be resolved: uv is not installed. Install it beside Runflow with pip.")
        output = self.scratch / form
        output.unlink(missing_ok=True)  # uv would prefer what stands in it
        command: list[str | Path] = [self.environment.uv, "pip", "compile", "--quiet", "--no-header"]
        command += ["--python", self.environment.python, *self.environment.indexes.arguments_for_uv, *arguments]
        command += ["--constraint", self._file("constraints.txt", question.constraints)]
        command += ["--override", self._file("overrides.txt", question.overrides)]
        command += ["--format", form, "--output-file", output, self._file("requirements.in", question.requirements)]
        if runs_code:
            assert self.confine is not None
            command = list(self.confine(command))
        env = {**self.environment.indexes.environment_for_uv(), **self.env, "PYTHONPATH": ""}
        try:
            run(command, what="Resolving packages with uv", env=env, cwd=self.scratch, timeout=self.seconds)
        except CommandFailed as error:
            # Of wheels alone, 1 is "no solution"; other codes tell of the network, the disk or ourselves.
            if error.code == 1 or (runs_code and error.code is not None):
                raise NoSolution(error.tail) from None
            raise ResolutionFailed(f"The packages could not be resolved, through no fault of a pack. {error}") from None
        return output.read_text(encoding="utf-8")

    def _file(self, name: str, lines: Sequence[object]) -> Path:
        path = self.scratch / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path


def _version_of(wheel: str) -> str:
    return str(parse_wheel_filename(PurePosixPath(unquote(urlsplit(wheel).path)).name)[1])
