import asyncio
import hashlib
import shutil
from types import SimpleNamespace
from typing import Any

import pytest

from plugin.autosetup import git as git_module
from plugin.autosetup import plan_models, plan_packs
from plugin.autosetup.download import KEPT_FREE_BYTES
from plugin.autosetup.fetch import Fetcher
from plugin.autosetup.lines import ModelLine, PackLine
from plugin.autosetup.packages import Requirements
from plugin.autosetup.plan import make_plan
from plugin.autosetup.registry import registry_url
from plugin.autosetup.repository import Repository
from tests.plugin.autosetup.small_machine import SmallMachine
from tests.support.autosetup_hosts import Host, Served, commit, safetensors

CONTENT = safetensors(5000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


async def lines(
    graph: Any, machine: SmallMachine, fetcher: Fetcher, registry: str | None = None, **options: Any
) -> list[Any]:
    asked = {"packs": True, "models": True, **options}
    page_knows = asked.pop("page_knows", ())
    plan = await make_plan(graph, page_knows, machine, fetcher, registry, **asked)
    return list(plan.lines.values())


def graph(*nodes: Any, custom_nodes: Any = None, models: Any = None) -> dict[str, Any]:
    return {"nodes": list(nodes), "extra": {"runflow": {"custom_nodes": custom_nodes or {}, "models": models or {}}}}


async def test_a_machine_that_has_everything_lacks_nothing(host: Host, machine: SmallMachine, fetcher: Fetcher) -> None:
    here = machine.models_root / "text_encoders/clip.safetensors"
    here.parent.mkdir()
    here.write_bytes(b"x")
    row = {"name": "clip.safetensors", "url": f"{host.url}/clip", "directory": "clip"}  # an older name of the folder
    node = {"type": "KSampler", "properties": {"models": [row]}, "widgets_values": ["clip.safetensors"]}
    note = {"type": "Note"}
    pack = {"origin": f"{host.url}/Pack", "commit": "a" * 40}
    assert await lines(graph(node, note, custom_nodes={"Pack": pack}), machine, fetcher, page_knows=["Note"]) == []
    assert host.asked == []


async def test_only_what_was_ticked_is_looked_for(host: Host, machine: SmallMachine, fetcher: Fetcher) -> None:
    wanted = graph({"type": "Unknown"}, models={"loras/a.safetensors": {}})
    assert [type(line) for line in await lines(wanted, machine, fetcher, packs=False)] == [ModelLine]
    assert [type(line) for line in await lines(wanted, machine, fetcher, models=False)] == [PackLine]


async def test_models_of_nodes_graph_subgraphs_and_manifest(
    host: Host, machine: SmallMachine, fetcher: Fetcher
) -> None:
    host.files |= {f"/{name}": Served(CONTENT) for name in "abcd"}

    def row(name: str, **more: Any) -> dict[str, Any]:
        return {"name": f"{name}.safetensors", "url": f"{host.url}/{name}", "directory": "unet", **more}

    first = {"type": "KSampler", "properties": {"models": [row("a", hash=SHA256.upper(), hash_type="SHA256")]}}
    inner = {"nodes": [{"type": "KSampler", "properties": {"models": [row("b", hash="x", hash_type="MD5")]}}]}
    wanted = graph(first, models={"unet/d.safetensors": {"url": f"{host.url}/d", "sha256": SHA256, "size_bytes": 5000}})
    wanted |= {"models": [row("c"), row("a", url=f"{host.url}/other")], "definitions": {"subgraphs": [inner]}}
    found = {line.name.rpartition("/")[2][0]: line for line in await lines(wanted, machine, fetcher)}
    assert sorted(found) == ["a", "b", "c", "d"]
    assert {line.kind for line in found.values()} == {"diffusion_models"}
    assert {line.folder for line in found.values()} == {machine.models_root / "diffusion_models"}
    assert [found[name].sha256 for name in "abcd"] == [SHA256, None, None, SHA256]
    assert {line.size_bytes for line in found.values()} == {5000}
    assert found["a"].notes == ("The workflow names a second address for this file; the first one is taken.",)
    assert found["b"].notes[0].startswith("The workflow gives a hash, but no SHA-256")
    assert found["d"].notes == ()


async def test_a_page_of_hugging_face_means_its_file(
    machine: SmallMachine, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def inspect(url: str, _fetcher: Fetcher) -> int:
        asked.append(url)
        return 7

    monkeypatch.setattr("plugin.autosetup.plan_models.inspect_file", inspect)
    rows = {"loras/a.safetensors": {"url": "https://huggingface.co/o/r/blob/main/blob/a.safetensors"}}
    await lines(graph(models=rows), machine, fetcher)
    assert asked == ["https://huggingface.co/o/r/resolve/main/blob/a.safetensors"]


async def test_a_pack_of_the_manifest_at_its_commit(host: Host, machine: SmallMachine, fetcher: Fetcher) -> None:
    old = commit(host.repositories / "Pack", {"__init__.py": "1"})
    commit(host.repositories / "Pack", {"__init__.py": "2"})
    row = {"origin": f"{host.url}/Pack", "commit": old, "dirty": True, "dependencies": ["numpy", "-e ."]}
    (line,) = await lines(graph({"type": "A"}, {"type": "B"}, custom_nodes={"Pack": row}), machine, fetcher)
    assert (line.name, line.classes, line.commit, line.method) == ("Pack", ("A", "B"), old, "git")
    assert line.expected == Requirements(("numpy",), ("-e .",))
    assert any("had changes" in note for note in line.notes)
    assert line.folder == machine.custom_nodes[0]


async def test_the_manifest_says_which_pack_brings_which_classes(
    host: Host, machine: SmallMachine, fetcher: Fetcher
) -> None:
    for name in ("One", "Two"):
        commit(host.repositories / name, {"__init__.py": "1"})
    rows = {
        name: {"origin": f"{host.url}/{name}", "classes": [classes]}
        for name, classes in {"One": "A", "Two": "B"}.items()
    }
    rows["Here"] = {"origin": f"{host.url}/Here", "classes": ["KSampler"]}
    found = await lines(graph({"type": "A"}, {"type": "B"}, {"type": "C"}, custom_nodes=rows), machine, fetcher)
    assert {line.name: line.classes for line in found} == {"One": ("A",), "Two": ("B",), "unknown pack": ("C",)}
    assert found[2].refused is not None


async def test_a_pack_without_a_commit_is_pinned_to_the_newest_one(
    host: Host, machine: SmallMachine, fetcher: Fetcher
) -> None:
    head = commit(host.repositories / "Pack", {"__init__.py": "1"})
    for origin in (f"{host.url}/Pack", (host.repositories / "Pack").as_uri()):
        (line,) = await lines(graph({"type": "A"}, custom_nodes={"Pack": {"origin": origin}}), machine, fetcher)
        assert (line.commit, line.refused) == (head, None)
        assert any("newest" in note for note in line.notes)


async def test_nodes_name_their_pack_and_the_manifest_completes_it(
    host: Host, machine: SmallMachine, fetcher: Fetcher
) -> None:
    head = commit(host.repositories / "ComfyUI-Some_Pack", {"__init__.py": "1"})
    node = {"type": "A", "properties": {"cnr_id": "comfyui-some-pack", "ver": "1.0.0"}}
    row = {"origin": f"{host.url}/ComfyUI-Some_Pack", "commit": head}
    (line,) = await lines(graph(node, custom_nodes={"ComfyUI-Some_Pack": row}), machine, fetcher)
    assert (line.name, line.commit, line.refused) == ("ComfyUI-Some_Pack", head, None)


async def test_a_repository_of_github_is_asked_for_as_such(
    machine: SmallMachine, strict: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def find(_fetcher: Fetcher, url: str) -> Any:
        asked.append(url)
        return Repository(strict.sources.check(url), None)

    async def no_names(*_arguments: Any) -> list[str]:
        return []

    monkeypatch.setattr(plan_packs, "find_repository", find)
    monkeypatch.setattr(plan_packs, "pinned_addresses", no_names)
    node = {"type": "A", "properties": {"aux_id": "owner/Some-Pack", "ver": "c" * 40}}
    (line,) = await lines(graph(node), machine, strict)
    assert (line.url, line.commit, line.name) == ("https://github.com/owner/Some-Pack", "c" * 40, "Some-Pack")
    monkeypatch.setattr(git_module, "usable", lambda: False)
    (line,) = await lines(graph(node), machine, strict)
    assert line.method == "archive"
    assert line.archive == f"https://github.com/owner/Some-Pack/archive/{'c' * 40}.tar.gz"


async def test_the_registry_that_the_operator_names_is_asked(
    host: Host, machine: SmallMachine, fetcher: Fetcher
) -> None:
    head = commit(host.repositories / "Pack", {"__init__.py": "1"})
    version = {
        "version": "1.2.3",
        "downloadUrl": f"{host.url}/p.zip",
        "dependencies": ["numpy"],
        "status": "NodeVersionStatusActive",
    }
    host.jsons |= {
        "/nodes/some-pack": {"repository": f"{host.url}/Pack"},
        "/nodes/some-pack/install": version,
        "/nodes/banned": {"repository": f"{host.url}/Pack"},
        "/nodes/banned/install": {**version, "status": "NodeVersionStatusBanned"},
    }
    released = {"type": "A", "properties": {"cnr_id": "some-pack", "ver": "1.2.3"}}
    (line,) = await lines(graph(released), machine, fetcher, host.url)
    assert (line.name, line.method, line.version, line.archive) == (
        "some-pack",
        "archive",
        "1.2.3",
        f"{host.url}/p.zip",
    )
    assert line.expected == Requirements(("numpy",), ())
    nightly = {"type": "A", "properties": {"cnr_id": "some-pack", "ver": head}}
    (line,) = await lines(graph(nightly), machine, fetcher, host.url)
    assert (line.method, line.commit, line.refused) == ("git", head, None)
    banned = {"type": "A", "properties": {"cnr_id": "banned", "ver": "1.2.3"}}
    (line,) = await lines(graph(banned), machine, fetcher, host.url)
    assert "does not release" in line.refused
    row = {"origin": f"{host.url}/Pack", "registry_id": "gone"}
    gone = graph({"type": "A", "properties": {"cnr_id": "gone", "ver": "1.2.3"}}, custom_nodes={"Pack": row})
    (line,) = await lines(gone, machine, fetcher, host.url)
    assert (line.method, line.commit, line.refused) == ("git", head, None), "the workflow itself knows where it is"
    unknown = {"type": "A", "properties": {"cnr_id": "unknown"}}
    (line,) = await lines(graph(unknown), machine, fetcher, host.url)
    assert "404" in line.refused
    (line,) = await lines(graph(released), machine, fetcher)
    assert "only as" in line.refused


@pytest.mark.parametrize("there", ["Pack", "pack", "Pack.disabled", "Pack.py", "other-name"])
async def test_a_pack_that_is_here_is_left_as_it_is(
    there: str, host: Host, machine: SmallMachine, fetcher: Fetcher
) -> None:
    head = commit(host.repositories / "Pack", {"__init__.py": "1"})
    place = machine.custom_nodes[0] / there
    place.mkdir()
    if there == "other-name":
        (place / ".git").mkdir()
        (place / ".git/config").write_text(f'[remote "origin"]\n\turl = {host.url}/Pack.git\n')
    row = {"origin": f"{host.url}/Pack", "commit": head, "classes": ["A"]}
    (line,) = await lines(graph({"type": "A"}, custom_nodes={"Pack": row}), machine, fetcher)
    assert f'as "{there}"' in line.refused


async def test_what_an_earlier_try_left_is_announced(
    host: Host, machine: SmallMachine, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.files["/a"] = Served(CONTENT)
    wanted = graph(models={"loras/a.safetensors": {"url": f"{host.url}/a", "sha256": SHA256}})
    (line,) = await lines(wanted, machine, fetcher)
    line.folder.mkdir()
    (line.folder / f".a.safetensors.{line.id}.runflow-part").write_bytes(b"x" * 3000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=KEPT_FREE_BYTES + 2000))
    (line,) = await lines(wanted, machine, fetcher)
    assert any("are here already" in note for note in line.notes)
    assert line.refused is None, "only the rest needs room"
    told = line.to_dict()
    assert (told["size_bytes"], told["missing_bytes"], told["free_bytes"]) == (5000, 2000, 2000)
    (line.folder / f".a.safetensors.{line.id}.runflow-part").unlink()
    (line,) = await lines(wanted, machine, fetcher)
    assert "room for" in line.refused


async def test_two_packs_of_one_name_and_what_they_hide(host: Host, machine: SmallMachine, fetcher: Fetcher) -> None:
    """The folder can hold one of them, and the person is told of the other; names show every letter."""
    for place in ("Pack", "other/Pack"):
        commit(host.repositories / place, {"__init__.py": "1"})
    rows = {
        "Pack": {"origin": f"{host.url}/Pack", "classes": ["A"], "version": "1.2.3"},
        "Other": {"origin": f"{host.url}/other/Pack", "classes": ["B\u202e" + "x" * 9000]},
    }
    (line,) = await lines(
        graph(*({"type": row["classes"][0]} for row in rows.values()), custom_nodes=rows), machine, fetcher
    )
    assert line.url == f"{host.url}/Pack"
    assert any("version 1.2.3" in note and "newest" in note for note in line.notes)
    assert any(f"{host.url}/other/Pack" in note for note in line.notes)
    shown = line.to_dict()["classes"]
    assert shown[0] == "A"
    assert shown[1].startswith("B\\u202ex")
    assert len(shown[1]) < 400


async def test_hosts_that_stall_do_not_keep_the_person_waiting(
    host: Host, machine: SmallMachine, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_packs, "_SECONDS_FOR_ALL", 0.2)
    monkeypatch.setattr(plan_models, "_SECONDS_FOR_ALL", 0.2)
    stuck = asyncio.Event()

    async def stall(*_asked: object) -> object:
        await stuck.wait()
        raise AssertionError

    host._git = host._file = stall  # type: ignore[method-assign, assignment]
    host.files["/m"] = Served(CONTENT)
    packs = {f"P{n}": {"origin": f"{host.url}/P{n}", "classes": [f"A{n}"]} for n in range(20)}
    models = {f"loras/{n}.safetensors": {"url": f"{host.url}/m"} for n in range(20)}
    async with asyncio.timeout(60):
        found = await lines(
            graph(*({"type": f"A{n}"} for n in range(20)), custom_nodes=packs, models=models), machine, fetcher
        )
    stuck.set()
    assert len(found) == 40
    assert all("too long" in line.refused for line in found)


def test_the_public_registry_is_asked_unless_the_operator_wants_another_or_none() -> None:
    assert registry_url({}) == "https://api.comfy.org"
    assert registry_url({"RUNFLOW_AUTOSETUP_REGISTRY": "https://registry.intern/"}) == "https://registry.intern"
    assert registry_url({"RUNFLOW_AUTOSETUP_REGISTRY": ""}) is None
