"""`runflow models` against the application."""

import dataclasses
import hashlib
import json
from pathlib import Path

import httpx
import pytest

from runflow.cli import models
from runflow.server import create_app
from runflow.web.services import Services
from runflow.worker.store.content import ContentStore
from tests.cli.conftest import Command, told
from tests.support.deployed import PROMPT
from tests.support.model_uploads import content, declaration
from tests.support.served import served

MISSING = "0197f3a0-0000-7000-8000-000000000000"


async def use(client: httpx.AsyncClient, sha256: str) -> str:
    """Deploy a workflow that uses a model, and return its path."""
    body = {"name": "User", "workflow_json": PROMPT, "models": {"vae/a.safetensors": {"sha256": sha256}}}
    answer = await client.post("/v1/comfyui-workflows", json=body)
    assert answer.status_code == 201, answer.text
    path: str = answer.json()["path"]
    return path


async def test_a_model_is_added_listed_and_removed(cli: Command, client: httpx.AsyncClient, tmp_path: Path) -> None:
    data = content(0.002, 41)
    file = tmp_path / "models" / "loras" / "mine.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    sha256 = declaration(data)["sha256"]
    said = await cli("models", "add", str(file))
    entry = {"path": "loras/mine.safetensors", "sha256": sha256, "size_bytes": len(data)}
    assert (said.code, json.loads(said.out)) == (0, entry), said.err
    assert "Hashing mine.safetensors (33 kB)" in said.words and "Sending mine" in said.words
    assert f"Added mine.safetensors, 33 kB, SHA-256 {sha256}" in said.words
    again = await cli("models", "add", str(file), "--folder", "vae", "--json")
    (found,) = json.loads(again.out)
    assert found["entry"] == {**entry, "path": "vae/mine.safetensors"} and "Sending" not in again.words
    assert "The server has it already" in (await cli("models", "add", str(file))).words

    path = await use(client, sha256)
    listed = (await cli("models", "list")).out.splitlines()
    assert listed[0].split() == ["name", "size", "SHA-256", "used", "by", "created"]
    assert listed[1].split()[:5] == ["mine.safetensors", "33", "kB", sha256[:12], path]
    (row,) = json.loads((await cli("models", "list", "--json", "-q", "size_bytes > 1")).out)
    assert (row["id"], row["used_by_count"]) == (found["id"], 1)

    kept = await cli("models", "remove", sha256[:12], "--yes")
    assert kept.code == 2 and f"{path} uses mine.safetensors" in kept.words and "--force" in kept.words
    asked = await cli("models", "remove", "mine.safetensors", "--force")
    assert asked.code == 2 and "--yes" in asked.words, "there is no terminal to ask on"
    removed = await cli("models", "remove", sha256[:12].upper(), "--force", "--yes")
    assert removed.code == 0 and f"Removed mine.safetensors. Runs of {path} wait" in removed.words
    assert "There is no such model" in (await cli("models", "list")).words


async def test_a_model_is_found_by_its_id_and_named_exactly(cli: Command, tmp_path: Path) -> None:
    found = {}
    for seed in (42, 43):
        file = tmp_path / str(seed) / "it's.safetensors"
        file.parent.mkdir()
        file.write_bytes(content(0.001, seed))
        (found[seed],) = json.loads((await cli("models", "add", str(file), "--json")).out)
    several = await cli("models", "remove", "it's.safetensors", "--yes")
    assert several.code == 2 and all(one["sha256"][:12] in several.words for one in found.values())
    removed = await cli("models", "remove", found[42]["id"], "--yes", "--json")
    assert json.loads(removed.out)["id"] == found[42]["id"]
    (left,) = json.loads((await cli("models", "list", "--json")).out)
    assert left["id"] == found[43]["id"]
    for unknown in (MISSING, "none.safetensors", "ab" * 32, "\\'"):
        said = await cli("models", "remove", unknown, "--yes")
        assert said.code == 2 and "models list" in said.words and "Traceback" not in said.err


async def test_what_cannot_be_added_is_explained(
    cli: Command, caller: dict[str, str], services: Services, tmp_path: Path
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"world")
    none = await cli("models", "add", str(file), str(tmp_path / "none"))
    assert none.code == 2 and f"There is no file {tmp_path / 'none'}" in none.words
    settings = services.settings.model_copy(update={"accept_models": False})
    async with served(create_app(dataclasses.replace(services, settings=settings))) as url:
        refused = await told({**caller, "RUNFLOW_URL": url}, "models", "add", str(file))
    assert refused.code == 4 and "MODEL_UPLOADS_DISABLED" in refused.words


@pytest.mark.parametrize(
    ("file", "folder", "place"),
    [
        ("/a/models/unet/b/c.gguf", None, "unet/b/c.gguf"),
        ("/models/x/models/vae/c.pt", None, "vae/c.pt"),
        ("/a/models/c.pt", None, "checkpoints/c.pt"),
        ("/a/c.pt", None, "checkpoints/c.pt"),
        ("/a/models/unet/c.pt", "loras/", "loras/c.pt"),
    ],
)
def test_where_a_model_belongs(file: str, folder: str | None, place: str) -> None:
    assert models.place_of(Path(file), folder) == place


async def test_what_this_machines_workers_have_fetched_is_listed_and_removed(cli: Command, tmp_path: Path) -> None:
    said = await cli("models", "list", "--store")
    assert said.code == 0 and "Nothing was fetched" in said.words
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"x" * 2_500_000)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    held = await ContentStore(tmp_path / "home" / "store").adopt(file, sha256)
    listed = await cli("models", "list", "--store")
    assert sha256[:12] in listed.out and "2.5 MB" in listed.out
    (row,) = json.loads((await cli("models", "list", "--store", "--json")).out)
    assert (row["sha256"], row["size_bytes"], row["is_public"]) == (sha256, 2_500_000, True)
    refused = await cli("models", "remove", sha256, "--store")
    assert refused.code != 0 and "A run uses" in refused.words
    held.release()
    assert (await cli("models", "remove", "0" * 12, "--store")).code != 0
    removed = await cli("models", "remove", sha256[:8], "--store")
    assert removed.code == 0 and "Removed" in removed.words
    assert not held.path.exists()
