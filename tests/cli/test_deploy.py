"""`runflow deploy` against the application."""

import json
import shlex
from pathlib import Path

import httpx

from tests.cli.conftest import Command
from tests.support.deployed import PROMPT
from tests.support.source import ROOT

TEXT = "a sea otter holding a smooth pebble"


async def test_a_file_becomes_a_workflow_and_then_a_version(
    cli: Command, client: httpx.AsyncClient, owner_slug: str, tmp_path: Path
) -> None:
    file = tmp_path / "Big Portrait_api.json"
    file.write_text(json.dumps(PROMPT))
    said = await cli("deploy", str(file))
    assert (said.code, said.out) == (0, f"{owner_slug}/big-portrait\n"), said.err
    assert "version 1" in said.err and "input prompt (string, required)" in said.words
    assert "input steps (int, default 4)" in said.words and "output picture" in said.words
    (run,) = [shlex.split(line) for line in said.err.splitlines() if line.startswith("  runflow")]
    assert run == ["runflow", "run", f"{owner_slug}/big-portrait", "-i", f"prompt={TEXT}"]
    curl = shlex.split(said.err[said.err.index("\ncurl ") :].replace("\\\n", ""))
    assert curl[1].endswith(f"/v1/comfyui-workflows/{owner_slug}/big-portrait/runs?wait=60")
    assert json.loads(curl[-1]) == {"input": {"prompt": TEXT, "steps": 4}} and "rf_live_" not in said.err
    file.write_text(json.dumps({**PROMPT, "7": {"class_type": "Anything", "inputs": {}}}))
    again = await cli("deploy", str(file), "--json", "--name", "Big Portrait")
    assert json.loads(again.out)["version"] == "2"
    named = await cli("deploy", str(file), "--slug", "other", "--description", "Small.")
    assert named.out == f"{owner_slug}/other\n"
    found = (await client.get(f"/v1/comfyui-workflows/{owner_slug}/other")).json()
    assert (found["name"], found["description"]) == ("other", "Small.")


async def test_the_sample_says_what_each_input_takes(cli: Command) -> None:
    said = await cli("deploy", str(ROOT / "examples/dream-photo/workflow_api.json"))
    assert "input photo (image, required)" in said.words and said.code == 0, said.err
    assert "-i photo=@photo.png" in said.words and '"photo": "https://your-site.example/photo.png"' in said.words
    assert "input size (int, default 512, 64 to 2048, in steps of 8)" in said.words
    assert 'input style (string, default "difference", one of difference, screen, multiply, overlay)' in said.words


async def test_what_cannot_be_deployed_is_explained(cli: Command, tmp_path: Path) -> None:
    graph, broken, odd = tmp_path / "ui.json", tmp_path / "broken.json", tmp_path / "ü.json"
    graph.write_text('{"nodes": [], "links": []}')
    broken.write_text("{")
    odd.write_text("{}")
    for words, sentence in (
        ((str(graph),), "Workflow > Export (API)"),
        ((str(broken),), "is no JSON"),
        ((str(tmp_path / "none.json"),), "No such file"),
        ((str(odd),), "--slug"),
        ((str(graph), "--slug", "A B"), "a-z"),
    ):
        said = await cli("deploy", *words)
        assert (said.code, said.out) == (2, "") and sentence in said.words, said.err
        assert "Traceback" not in said.err
