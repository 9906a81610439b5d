"""An environment with the wheel, what that requires, and nothing else: made offline from the packages that are here."""

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BLOCK = """
import sys
from importlib import import_module

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
"""Makes the modules lack in a process; as its sitecustomize.py in every process of an installation."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds these distributions, by their canonical names."""

    python: Path
    names: frozenset[str]

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run its Python away from the clone."""
        environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "NO_COLOR": "1", **variables}
        command = [str(self.python), *arguments]
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


def required(of: Distribution) -> dict[str, Distribution]:
    """Return what a distribution requires without extras, and what that requires, by canonical name."""
    found: dict[str, Distribution] = {}
    waiting = list(direct(of, set()))
    while waiting:
        name, extras = waiting.pop()
        known = distribution(name)
        if canonicalize_name(name) not in found or extras:
            found[canonicalize_name(name)] = known
            waiting += [one for one in direct(known, extras) if canonicalize_name(one[0]) not in found]
    return found


def direct(of: Distribution, extras: set[str]) -> Iterable[tuple[str, set[str]]]:
    """Yield the name and extras of each requirement that holds on this machine."""
    for text in of.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""})
        ):
            assert requirement.specifier.contains(distribution(requirement.name).version, prereleases=True), text
            yield requirement.name, requirement.extras


def plain_environment(wheel: Path, folder: Path) -> Environment:
    """Make the environment: the wheel unpacked, and each package that it requires as a link to this environment's."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (metadata,) = site.glob("*.dist-info")
    packages = required(PathDistribution(metadata))
    for package in packages.values():
        for entry in {file.parts[0] for file in package.files or () if file.parts[0] != ".."}:
            if entry != "__pycache__":
                (site / entry).symlink_to(str(package.locate_file(entry)))
    return Environment(folder / "bin" / Path(sys.executable).name, frozenset(packages))
