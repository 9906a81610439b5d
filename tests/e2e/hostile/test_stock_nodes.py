"""What a tenant gets by ComfyUI's own nodes alone: its own files, and nobody else's."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.support.hostile_installation import HostileInstallation, contents, picture
from tests.support.platform_fixtures import until
from tests.support.stock_attacks import LEAVINGS, READINGS


def colours(run: dict[str, object]) -> set[object]:
    """Return the colours of the run's picture, none where it has none."""
    content = contents(run, "picture")
    if not content:
        return set()
    with Image.open(io.BytesIO(content)) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(maxcolors=2**16) or ()}


@pytest.mark.parametrize("name", READINGS)
def test_a_workflow_of_stock_nodes_reads_no_file_of_the_machine(hostile: HostileInstallation, name: str) -> None:
    folder = Path(hostile.decoys["decoy_file"]).parent / "pictures"
    folder.mkdir(exist_ok=True)
    target = picture(folder / "private.png", "#123456")
    path = str(folder if "folder" in name else target)
    run = hostile.attacker.run(hostile.attacker.deploy(name, READINGS[name].prompt(path)), {})
    assert colours(run) == set(), f"{name} got the picture"
    assert run["status_code"] == "failed"
    assert run["failure_stage_code"] in ("prepare", "execute"), run["failure_message"]
    assert "private.png" not in run["failure_message"].replace(path, "")


def test_a_workflow_of_stock_nodes_reads_nothing_that_the_server_keeps(
    hostile: HostileInstallation, tmp_path: Path
) -> None:
    photo = hostile.victim.api.upload(picture(tmp_path / "photo.png", "#fedcba"))
    asset = photo.removeprefix("runflow://assets/")
    storage = hostile.platform.home / "storage"

    def kept() -> list[Path]:
        return sorted({path.parent for path in storage.rglob("*") if path.is_file() and asset in str(path)})

    until(kept, "the stored picture")
    for number, folder in enumerate([*kept(), storage / "thumbnails"]):
        prompt = READINGS["stock-absolute-folder"].prompt(str(folder))
        run = hostile.attacker.run(hostile.attacker.deploy(f"stock-stored-{number}", prompt), {})
        assert colours(run) == set(), f"a picture of another tenant in {folder.relative_to(storage)}"


@pytest.mark.parametrize("name", LEAVINGS)
def test_what_a_workflow_saves_anywhere_is_gone_for_the_next_tenant(
    hostile: HostileInstallation, tmp_path: Path, name: str
) -> None:
    save, read, _ = LEAVINGS[name]
    photo = hostile.victim.api.upload(picture(tmp_path / "photo.png", "#abcdef"))
    saved = hostile.victim.run(hostile.victim.deploy(name, save(f"shared/{name}")), {"photo": photo})
    assert saved["status_code"] == "succeeded", saved["failure_message"]
    assert colours(saved) == {(0xAB, 0xCD, 0xEF)}
    run = hostile.attacker.run(hostile.attacker.deploy(name, read(f"shared/{name}")), {})
    assert colours(run) == set(), f"{name} got the picture"
    assert run["status_code"] == "failed"
    left = [path for path in (hostile.platform.home / "workers").rglob("*") if name in path.name]
    assert left == []
