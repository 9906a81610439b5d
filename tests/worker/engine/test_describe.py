"""From /system_stats, as recorded, to what an engine can do."""

from runflow.worker.engine.base import Ability
from runflow.worker.engine.describe import abilities_from, version_tuple


def stats(version: str, *argv: str) -> dict[str, object]:
    return {"system": {"comfyui_version": version, "argv": ["main.py", *argv]}}


def test_versions_compare_as_numbers() -> None:
    assert version_tuple("0.3.57") < version_tuple("0.12.0") < version_tuple("0.30.0+local.9")


def test_abilities_follow_version_and_arguments() -> None:
    assert abilities_from(stats("0.3.56")) == frozenset()
    assert abilities_from(stats("0.3.57")) == {Ability.EXACT_INTERRUPT}
    full = abilities_from(stats("0.30.0", "--cache-none", "--disable-metadata"))
    assert full == {Ability.EXACT_INTERRUPT, Ability.CACHE_OFF, Ability.NO_METADATA}
    assert abilities_from({}) == frozenset()
