"""Packages of several names that install the same files: at most one of each family may be in a runtime."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True, slots=True)
class Family:
    """Packages that own the same files, and the one that stands for all: on a machine with CUDA, and elsewhere."""

    members: frozenset[str]
    with_cuda: str
    otherwise: str

    def one(self, cuda: bool) -> str:
        """Return the member that a runtime gets."""
        return self.with_cuda if cuda else self.otherwise


_OPENCV = "opencv-contrib-python-headless"  # has what any of them has, and needs no display
FAMILIES = (
    Family(frozenset({"opencv-python", "opencv-python-headless", "opencv-contrib-python", _OPENCV}), _OPENCV, _OPENCV),
    Family(frozenset({"onnxruntime", "onnxruntime-gpu"}), "onnxruntime-gpu", "onnxruntime"),
)
_NEVER = "python_version < '0'"
"""As an override, it takes a package out of every set of requirements."""


def replaced(names: Collection[str], cuda: bool) -> set[str]:
    """Return those of these packages for which another one of their family stands."""
    others = {name for family in FAMILIES for name in family.members if name != family.one(cuda)}
    return others & set(names)


def unified(
    requirements: Sequence[Requirement], also_seen: Collection[str], cuda: bool
) -> tuple[list[Requirement], list[str]]:
    """Return requirements with one package for each family, and overrides that take the others out everywhere.

    What is asked of a member's version is asked of the one that stands for it: they are released together. `also_seen`
    are packages that something else depends on.
    """
    kept = list(requirements)
    overrides: list[str] = []
    for family in FAMILIES:
        one = family.one(cuda)
        asked = {canonicalize_name(requirement.name) for requirement in kept} | set(also_seen)
        if not asked & (family.members - {one}):
            continue
        kept = [_renamed(requirement, family, one) for requirement in kept]
        kept.append(Requirement(one))
        overrides += [f"{name} ; {_NEVER}" for name in sorted(family.members - {one})]
    return kept, overrides


def _renamed(requirement: Requirement, family: Family, one: str) -> Requirement:
    if canonicalize_name(requirement.name) not in family.members:
        return requirement
    renamed = Requirement(str(requirement))
    renamed.name, renamed.extras = one, set()
    return renamed
