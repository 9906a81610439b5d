"""Who is to blame for packs that fail, by a resolver of which it is known who conflicts with whom."""

from collections.abc import Sequence

import pytest

from runflow.worker.runtime.packages.blame import Blame, Fails, find_blame


def failing(*conflicts: set[str]) -> Fails:
    def fails(packs: Sequence[str]) -> str | None:
        return next((" ".join(sorted(one)) or "itself" for one in conflicts if one <= set(packs)), None)

    return fails


PACKS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("conflicts", "expected"),
    [
        ([{"b", "d"}], Blame(("b", "d"), "b d")),
        ([{"a", "c", "e"}], Blame(("a", "c", "e"), "a c e")),
        ([{"a", "b"}, {"c", "d"}], Blame(("c", "d"), "c d")),
        ([{"c"}, {"a", "b"}, {"e"}], Blame(("c", "e"), "c", apart=True)),
        ([set[str]()], Blame((), "itself")),
    ],
)
def test_those_are_blamed_without_any_of_whom_all_is_well(conflicts: list[set[str]], expected: Blame) -> None:
    assert find_blame(PACKS, "all", failing(*conflicts)) == expected


def test_a_search_ends() -> None:
    asked: list[int] = []

    def fails(packs: Sequence[str]) -> str | None:
        asked.append(len(packs))
        return "they fail" if len(packs) > 1 else None

    packs = [f"pack{n}" for n in range(200)]
    found = find_blame(packs, "all", fails, most_trials=250)
    assert len(asked) <= 251
    assert 2 <= len(found.packs) < 200
