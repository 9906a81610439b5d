"""What one tenant's engine holds of another tenant: nothing, in memory, on disk, in the kernel, or as code."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from plugin.deploy.model_upload import LocalModel, send_model
from plugin.deploy.platform import Platform as Server
from plugin.deploy.target import Target
from tests.support.hostile_installation import (
    HostileInstallation,
    Tenant,
    attack_prompt,
    canary,
    loot_of,
    nothing_got,
    picture,
)
from tests.support.hostile_pack.persistence import is_left
from tests.support.platform_fixtures import until
from tests.support.upscaler import prompt, safetensors

LEFTOVERS = ("canary-in-memory", "canary-on-disk", "canary-in-kernel")
PLANTING = ("write-comfyui", "write-own-pack", "write-python", "write-models")


@pytest.fixture(scope="module")
def after_the_victim(hostile: HostileInstallation, tmp_path_factory: pytest.TempPathFactory) -> HostileInstallation:
    """The installation, after a run of the victim that left its canary wherever it could."""
    text = canary()
    photo = picture(Path(tmp_path_factory.mktemp("victim")) / "photo.png", "maroon", text)
    run = hostile.victim.portrait(photo, text)
    assert run["status_code"] == "succeeded"
    assert any(way.startswith("file in") for way in loot_of(run)["refused"])
    return hostile


@pytest.mark.parametrize("attack", LEFTOVERS)
def test_nothing_of_a_former_tenant_is_left(after_the_victim: HostileInstallation, attack: str) -> None:
    nothing_got(attack, after_the_victim.attacker.attack(attack, after_the_victim.given()))


def test_files_of_other_runs_are_out_of_reach_while_they_are_prepared(
    hostile: HostileInstallation, tmp_path: Path
) -> None:
    text = canary()
    photo = picture(tmp_path / "photo.png", "olive", text)
    looking = {"name": "other-run-files", "parameters": json.dumps(hostile.given(seconds=4))}
    path = hostile.attacker.deploy("attack", attack_prompt())
    running = hostile.attacker.api.submit(path, looking)
    assert hostile.victim.portrait(photo, text)["status_code"] == "succeeded"
    nothing_got("other-run-files", loot_of(dict(hostile.attacker.api.wait(running["id"], timeout=300))))


def test_code_that_a_tenant_leaves_is_run_by_no_other(hostile: HostileInstallation) -> None:
    given = hostile.given()
    for attack in PLANTING:
        nothing_got(attack, hostile.attacker.attack(attack, given))
    nothing_got("planted-code", hostile.victim.attack("planted-code", given))
    assert hostile.platform.comfyui is not None
    # What lies in the folders of a life goes with its engine, and no other one sees it.
    left = [path for path in hostile.platform.home.rglob("*") if is_left(path) and "lives" not in path.parts]
    assert left == []


def test_links_that_a_tenant_leaves_hand_it_no_file(hostile: HostileInstallation) -> None:
    given = hostile.given()
    targets = [given["secret_key"], given["token_file"], given["decoy_file"], given["closed_folder"]]
    before = [owner(path) for path in targets]
    nothing_got("plant-links", hostile.attacker.attack("plant-links", {**given, "targets": targets}))
    # The next engine's start gives the folders to its user and removes what is in them.
    nothing_got("environment", hostile.victim.attack("environment", given))
    nothing_got("environment", hostile.attacker.attack("environment", given))
    assert [owner(path) for path in targets] == before


def owner(path: str) -> tuple[int, int, int]:
    """Return a file's owner, its rights and how often it is linked."""
    found = Path(path).stat()
    return found.st_uid, found.st_mode, found.st_nlink


async def upload(hostile: HostileInstallation, tenant: Tenant, folder: Path, name: str) -> tuple[dict[str, Any], str]:
    """Upload a model of the tenant's own; return the manifest's `models` with it, and its SHA-256."""
    content = safetensors(str(uuid.uuid4()))
    file = folder / f"{uuid.uuid4()}.safetensors"
    file.write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    model = LocalModel(f"upscale_models/{name}", file, len(content), checksum)
    url = hostile.platform.url
    async with Server(Target(url, url, tenant.api._session.key or "")) as server:
        await send_model(server, model, lambda _done, _total: None)
    return {model.path: {"directory": "upscale_models", "size_bytes": len(content), "sha256": checksum}}, checksum


async def test_a_model_of_another_tenant_is_not_there_by_its_name(hostile: HostileInstallation, tmp_path: Path) -> None:
    name = "private.safetensors"
    models, checksum = await upload(hostile, hostile.victim, tmp_path, name)
    theirs = hostile.victim.deploy("model", prompt(name), models=models)
    assert hostile.victim.run(theirs, {})["status_code"] == "succeeded"

    # Without a model of its own by that name there is none.
    api = hostile.attacker.api
    stolen = api.submit(hostile.attacker.deploy("stolen", prompt(name)), {})
    until(lambda: name in str(api.get_run(stolen)["waiting_reason"]), "the reason for which it waits")
    assert api.cancel(stolen)["status_code"] == "cancelled"
    seen = hostile.attacker.attack("models", {"folder": "upscale_models"})
    assert checksum not in str(seen) and name not in str(seen)

    # With one of its own by that name, each has its own.
    mine, own = await upload(hostile, hostile.attacker, tmp_path, name)
    path = hostile.attacker.deploy("mine", prompt(name), models=mine)
    assert hostile.attacker.run(path, {})["status_code"] == "succeeded"
    for tenant, uses, expected in ((hostile.attacker, path, {own}), (hostile.victim, theirs, {checksum})):
        assert tenant.run(uses, {})["status_code"] == "succeeded"
        found = tenant.attack("models", {"folder": "upscale_models"})["refused"]
        # A version that names the file without declaring it has another engine than one that declares it.
        assert {found[name]} == expected if tenant is hostile.victim else {found.get(name, own)} == expected
