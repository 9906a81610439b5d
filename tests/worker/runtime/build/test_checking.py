"""What is read out of the log of a runtime's first start, into which its packs write, too."""

from pathlib import Path

import pytest

from runflow.worker.runtime.build.checking import ClassesMissing, failed_imports, refuse_missing
from runflow.worker.runtime.build.manifest import ComfyAsk, PackAsk, RuntimeAsk

SAID = "Cannot import /home/me/custom_nodes/grow module for custom nodes: No module named 'seeds'"


def test_packs_that_were_not_imported_are_found_with_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(f"starting\n2026-01-01 [WARNING] {SAID}\nready\n")
    assert failed_imports(log) == {"grow": "No module named 'seeds'"}


def test_a_line_without_an_end_is_passed_over(tmp_path: Path) -> None:
    """Looking through it once for each of its beginnings would take hours."""
    log = tmp_path / "engine.log"
    log.write_text("Cannot import /a" * 200_000 + f"\n{SAID}\n")
    assert failed_imports(log) == {"grow": "No module named 'seeds'"}


def test_a_missing_class_is_blamed_on_the_pack_that_has_it() -> None:
    packs = (
        PackAsk("grow", "https://x/grow", "0" * 40, ("Grow",)),
        PackAsk("mow", "https://x/mow", "1" * 40, ("Mow",)),
    )
    ask = RuntimeAsk(ComfyAsk(version="1"), packs, node_types=("Grow", "KSampler"))
    refuse_missing({"Grow", "KSampler"}, ask, {})
    with pytest.raises(ClassesMissing, match=r"lacks the node classes Grow of grow \(grow: no seeds\)") as missing:
        refuse_missing({"KSampler"}, ask, {"grow": "no seeds"})
    assert missing.value.packs == ("grow",)
