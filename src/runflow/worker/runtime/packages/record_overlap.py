"""Files that two installed packages both own: the one installed last has won, and half of the other is gone."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_NOT_CODE = ("__pycache__",)
_METADATA = (".dist-info", ".egg-info")


def overlapping(site_packages: Path) -> list[tuple[str, list[str]]]:
    """Return the files that several packages own, with those packages (`name version`), both sorted.

    What the packages record as the same content does not count: whoever came last, the file is right, as is
    `nvidia/__init__.py` of all of NVIDIA's packages. A package without a RECORD owns nothing that could be told.
    """
    owners: dict[str, dict[str, str]] = defaultdict(dict)
    for record in sorted(site_packages.glob("*.dist-info/RECORD")):
        package = record.parent.name.removesuffix(".dist-info").replace("-", " ", 1)
        with record.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(file):
                if row and _counts(path := PurePosixPath(row[0])):
                    owners[str(path)][package] = row[1] if len(row) > 1 else ""
    return sorted((path, sorted(found)) for path, found in owners.items() if len(found) > 1 and _differ(found))


def overlap_told(overlaps: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return what is wrong with an environment that has such files, and the next step, for an error."""
    owners = sorted({" and ".join(packages) for _, packages in overlaps})
    shown = ", ".join(path for path, _ in overlaps[:5]) + (" …" if len(overlaps) > 5 else "")
    return (
        f"{len(overlaps)} installed files belong to two packages ({'; '.join(owners)}): {shown}. Only the last one "
        "installed is whole. Remove a pack that asks for one of them, or take a commit that asks for the other."
    )


def _counts(path: PurePosixPath) -> bool:
    return not any(part in _NOT_CODE or part.endswith(_METADATA) for part in path.parts)


def _differ(contents: dict[str, str]) -> bool:
    """Return whether the packages record other contents, or one of them none."""
    return len(set(contents.values())) > 1 or "" in contents.values()
