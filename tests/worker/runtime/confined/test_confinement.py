"""Which sandbox holds builds here, that it is tried before it is relied on, and whose number a build has."""

import os
import subprocess
from pathlib import Path

import pytest

from runflow.worker.engine.isolation.rungs import (
    FIRST_BUILD_UID,
    FIRST_UID,
    USERS_PER_WORKER,
    Rung,
    Sandbox,
    first_uid,
)
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.confined import confinement as confinement_module
from runflow.worker.runtime.confined.confinement import (
    TRIES,
    BuildsNotConfined,
    candidates,
    confinement,
    own_user,
    try_out,
)
from tests.worker.runtime.bench import Bench


def test_every_candidate_separates_files_and_as_root_gives_a_user_of_its_own() -> None:
    for sandbox in candidates():
        assert sandbox.separates_files
        assert not sandbox.network
        assert (sandbox.users is not None) == (os.geteuid() == 0)


def test_no_engine_has_the_number_of_a_build() -> None:
    for name in range(500):
        assert FIRST_UID <= first_uid(Path(f"/{name}")) <= FIRST_BUILD_UID - USERS_PER_WORKER


async def test_it_is_tried_out_once(best: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement_module, "candidates", list)
    assert await confinement(best.folder) == best.sandbox
    assert not list(best.folder.glob("probe-*"))


async def test_where_nothing_separates_files_it_is_refused(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement_module, "candidates", list)
    with pytest.raises(BuildsNotConfined, match=r"refused\. Namespaces cannot be used.* Or take a version"):
        await confinement(open_folder)


async def test_a_folder_that_no_other_user_can_reach_is_named(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    held = Sandbox(Rung.LANDLOCK, privileged=True, users=FIRST_BUILD_UID, network=False)
    assert f"{closed} lets nobody else in" in (await try_out(held, closed) or "")


def test_what_holds_nothing_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    command = ["/bin/sh", "-c", TRIES, "sh", str(tmp_path), str(tmp_path / "secret")]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (tried.returncode, tried.stdout) == (1, f"it can read {tmp_path / 'secret'}\n")


def test_no_two_builds_have_one_number(best: Bench) -> None:
    if best.sandbox.users is None:
        pytest.skip("only root has users to give")
    held = []
    with pytest.raises(InstallError, match="Wait for other builds"):
        for _ in range(USERS_PER_WORKER):
            one = own_user(best.sandbox)
            number = one.__enter__()
            held.append((number, one))
    assert len({number for number, _ in held}) == len(held) > 0
    for _, one in held:
        one.__exit__(None, None, None)
