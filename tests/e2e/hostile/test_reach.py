"""What a hostile node pack that was installed on the worker can reach from inside its engine: nothing."""

from pathlib import Path

import pytest

from tests.support.hostile_attacks import REACHING
from tests.support.hostile_installation import HostileInstallation, canary, nothing_got, picture


@pytest.fixture(scope="module")
def with_stored_files(hostile: HostileInstallation, tmp_path_factory: pytest.TempPathFactory) -> HostileInstallation:
    """The installation, after the other tenant has run something: there is a picture of its own to be had."""
    text = canary()
    photo = picture(Path(tmp_path_factory.mktemp("victim")) / "photo.png", "teal", text)
    hostile.until_forks()
    assert hostile.victim.portrait(photo, text)["status_code"] == "succeeded"
    return hostile


@pytest.mark.parametrize("attack", REACHING)
def test_an_attack_gets_nothing_from_the_first_engine(hostile: HostileInstallation, attack: str) -> None:
    """It was booted, as there was nothing to fork it from yet: another way into the same walls."""
    nothing_got(attack, hostile.first[attack])


@pytest.mark.parametrize("attack", REACHING)
def test_an_attack_gets_nothing(with_stored_files: HostileInstallation, attack: str) -> None:
    nothing_got(attack, with_stored_files.attacker.attack(attack, with_stored_files.given()))
