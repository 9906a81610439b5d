"""A pack that attacks the process that imports it, from which engines are forked, gets no more than in its engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_installation import (
    HostileInstallation,
    canary,
    hostile_installation,
    nothing_got,
    picture,
)


@pytest.fixture
def attacked(request: pytest.FixtureRequest, shared_comfyui: Path) -> Iterator[HostileInstallation]:
    """An installation of its own, whose engines are forked where they can be after what the pack did at import."""
    with hostile_installation(shared_comfyui, None, at_import=request.param) as started:
        started.until_forks()
        yield started


@pytest.mark.parametrize("attacked", ["listen"], indirect=True)
def test_a_pack_that_listens_since_its_import_hears_nothing_of_another_tenant(
    attacked: HostileInstallation, tmp_path: Path
) -> None:
    text = canary()
    run = attacked.victim.portrait(picture(tmp_path / "photo.png", "maroon", text), text)
    assert run["status_code"] == "succeeded", run["failure_message"]
    nothing_got("import-time-channel", attacked.attacker.attack("import-time-channel", attacked.given()))


@pytest.mark.parametrize("attacked", ["take-over", "decoy"], indirect=True)
def test_a_pack_that_takes_over_at_import_is_shut_in_nevertheless(attacked: HostileInstallation) -> None:
    nothing_got("environment", attacked.victim.attack("environment", attacked.given()))
    given = attacked.given()
    nothing_got("import-takeover", attacked.attacker.attack("import-takeover", given))
    # What holds every other engine holds this one.
    for attack in ("master-key", "other-processes", "become-root"):
        nothing_got(attack, attacked.attacker.attack(attack, given))
