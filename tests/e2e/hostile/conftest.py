"""Two installations for the hostile suite, one after the other: one that root runs, and one that a plain user runs."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_attacks import REACHING
from tests.support.hostile_installation import HostileInstallation, comfyui_copy, hostile_installation
from tests.support.plain_user import may_become, plain_uid


@pytest.fixture(scope="session")
def shared_comfyui(comfyui_dir: Path) -> Iterator[Path]:
    """A ComfyUI for the installations whose user is the tests' own: what one finds out about forks, all know."""
    with comfyui_copy(comfyui_dir, None) as copy:
        yield copy


@pytest.fixture(scope="session", params=["root", "plain"])
def hostile(request: pytest.FixtureRequest, comfyui_dir: Path, shared_comfyui: Path) -> Iterator[HostileInstallation]:
    """A started installation with two tenants and the hostile pack. What it is run by is in the test's id."""
    is_root = os.geteuid() == 0
    if request.param == "root" and not is_root:
        pytest.skip("only root can run everything as root")
    uid = plain_uid() if request.param == "plain" and is_root else None
    if uid is not None and (reason := may_become(uid)):
        pytest.skip(f"nothing of this suite can be run as a plain user: {reason}")
    with contextlib.ExitStack() as stack:
        copy = shared_comfyui if uid is None else stack.enter_context(comfyui_copy(comfyui_dir, uid))
        started = stack.enter_context(hostile_installation(copy, uid))
        given = started.given()
        started.first = {name: started.attacker.attack(name, given) for name in REACHING}
        yield started
