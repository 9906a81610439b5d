"""docs/security.md lists every attack of the hostile suite, and each of them is run by one of its tests."""

import re
from pathlib import Path

from tests.support.hostile_attacks import REACHING, SCENARIOS, every_attack
from tests.support.hostile_pack.pack import ATTACKS
from tests.support.source import ROOT, TESTS

CHAPTER = "## What an engine cannot leave"


def rows() -> dict[str, list[str]]:
    """Return the cells of the page's table by the attack's name."""
    text = (ROOT / "docs" / "security.md").read_text()
    chapter = text.partition(CHAPTER)[2].partition("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in chapter.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in found}


def test_the_page_lists_every_attack_and_says_what_it_tries() -> None:
    assert {name: cells[0] for name, cells in rows().items()} == every_attack()


def test_the_page_promises_for_the_best_rung_what_the_suite_holds() -> None:
    assert {name for name, cells in rows().items() if cells[1] != "nothing"} == set()
    assert [name for name, cells in rows().items() if len(cells) != 3 or not all(cells)] == []


def test_every_attack_is_run_by_a_test_of_the_suite() -> None:
    suite = "".join(path.read_text() for path in sorted((TESTS / "e2e" / "hostile").glob("test_*.py")))
    by_list = ("OUTPUTS", "READINGS", "LEAVINGS", "ANSWERS")
    assert all(re.search(rf"\b{name}\b", suite) for name in by_list)
    assert [name for name in ATTACKS if name not in REACHING and f'"{name}"' not in suite] == []
    words = {"model-by-name": "by_its_name", "stored-by-folder": "the_server_keeps", "colours": "colour"}
    assert SCENARIOS.keys() == words.keys()
    assert all(word in suite for word in words.values())


def test_the_pack_needs_nothing_but_python_until_it_runs() -> None:
    for path in Path(TESTS / "support" / "hostile_pack").glob("*.py"):
        at_the_top = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not any(word in line for line in at_the_top for word in ("folder_paths", "torch", "tests", "runflow"))
