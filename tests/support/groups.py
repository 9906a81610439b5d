"""Which tests share a process when the suite runs on several cores (`pytest -n 2`, as `scripts/test` does).

Tests of one file stay together, as they share what its fixtures made. The files with browser tests share their editors,
those of the tiers `e2e` and `chaos` their engine and platform, the hostile suite two installations. These groups are
the longest: they start early, and the other files fill the time beside and after them. The browser's comes first, as it
also installs ComfyUI where none is; meanwhile the tests of `tests/web`, which need none, keep the other processes busy.

pytest-xdist's own groups (`--dist loadgroup`, 3.8.0) have no effect with pytest 9.2, hence a scheduler with a rule.
"""

import re
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_MARKER = re.compile(r"mark\.(browser|e2e|chaos)\b")
_GROUPS = {"browser": 0, "processes": 2, "hostile": 3}
_HOSTILE = "/e2e/hostile/"
_MEANWHILE = "/tests/web/"


@cache
def group_of(file: Path) -> str:
    """Return the name of the group that a file of tests belongs to: its own, unless it has tests of a slow tier."""
    if _HOSTILE in file.as_posix():
        return "hostile"
    tiers = set(_MARKER.findall(file.read_text()))
    return "browser" if "browser" in tiers else "processes" if tiers else str(file)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out the tests by group, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(self.config.rootpath / nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Schedule by group, whatever `--dist` says."""
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long groups first where pytest-xdist hands out the tests, in the order of collection."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.path))


@cache
def place_of(file: Path) -> int:
    """Return the place in the order: the browser's group, what runs beside its set-up, the other group, the rest."""
    group = group_of(file)
    if group in _GROUPS:
        return _GROUPS[group]
    return 1 if _MEANWHILE in file.as_posix() else 4
