"""Uploading models by the SDK: once, on where it stopped, and through what a server loses."""

from pathlib import Path

import httpx
import pytest

from runflow.client import Conflict, InvalidRequest, Model, ModelProgress, Runflow
from runflow.client import models as subject
from runflow.models import parts
from runflow.web.services import Services
from tests.client.conftest import Both
from tests.support.deployed import PROMPT
from tests.support.model_uploads import begin, content, send
from tests.support.scripted import Reply, scripted

CHUNK = 64 * 1024


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("parts", "schemas"):
        monkeypatch.setattr(f"runflow.models.{module}.CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(subject, "HASH_BYTES", CHUNK)


def saved(folder: Path, data: bytes) -> Path:
    file = folder / "mine.safetensors"
    file.write_bytes(data)
    return file


async def test_a_model_is_sent_once_and_each_step_is_told(api: Both, tmp_path: Path) -> None:
    file, told = saved(tmp_path, content(1.5)), list[ModelProgress]()
    model = await api.upload_model(file, progress=told.append)
    assert isinstance(model, Model) and (model.filename, model.size_bytes) == (file.name, CHUNK * 3 // 2)
    size = model.size_bytes
    assert told == [
        *(ModelProgress("hash", done, size) for done in (0, CHUNK, size)),
        *(ModelProgress("send", done, size) for done in (0, CHUNK, size)),
        ModelProgress("check", 0, size),
    ]
    told.clear()
    assert await api.upload_model(str(file), progress=told.append) == model
    assert {progress.stage for progress in told} == {"hash"}
    assert [one.id for one in await api.models()] == [model.id]


async def test_an_upload_goes_on_where_it_was_broken_off(api: Both, client: httpx.AsyncClient, tmp_path: Path) -> None:
    data, told = content(2.5, 1), list[ModelProgress]()
    await send(client, (await begin(client, data))["id"], data, 0)
    await api.upload_model(saved(tmp_path, data), progress=told.append)
    assert next(progress.done for progress in told if progress.stage == "send") == CHUNK


async def test_what_the_server_has_lost_is_sent_again(
    api: Both, client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    data = content(3, 2)
    session = await begin(client, data)
    for start in range(0, len(data), CHUNK):
        await send(client, session["id"], data, start)
    await services.storage.delete([parts.part_key(session["id"], CHUNK)])
    assert (await api.upload_model(saved(tmp_path, data))).size_bytes == len(data)


async def test_a_model_in_use_is_deleted_only_by_force(api: Both, client: httpx.AsyncClient, tmp_path: Path) -> None:
    model = await api.upload_model(saved(tmp_path, content(1, 3)))
    body = {"name": "User", "workflow_json": PROMPT, "models": {"vae/a.safetensors": {"sha256": model.sha256}}}
    made = (await client.post("/v1/comfyui-workflows", json=body)).json()
    (found,) = await api.models(embed="used_by")
    assert (found.used_by_count, [use["path"] for use in found.used_by]) == (1, [made["path"]])
    with pytest.raises(Conflict, match=made["path"]):
        await api.delete_model(found)
    await api.delete_model(found.id, force=True)
    assert await api.models() == []


async def test_a_file_that_no_server_takes_is_refused(api: Both, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        await api.upload_model(saved(tmp_path, b""))
    with pytest.raises(FileNotFoundError):
        await api.upload_model(tmp_path / "none")


def test_a_confirmation_that_others_make_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subject, "SLOWEST_CHECK", 1)
    file = saved(tmp_path, b"world")
    lookup = {"items": [{"model_id": None}]}
    session = {"id": "u", "offset": 5, "size_bytes": 5, "chunk_bytes": CHUNK}
    busy = Reply(409, {"code": "CONFLICT", "message": "x"}, {"Retry-After": "0"})
    replies = (Reply(200, lookup), Reply(200, session), busy, busy, Reply(201, {"id": "m"}))
    with scripted(*replies) as server, Runflow(server.url, "rf_live_x", retry_seconds=0) as api:
        assert api.upload_model(file).id == "m"
    keys = server.header("Idempotency-Key")[2:]
    assert len({*keys}) == len(keys) == 3, "the answer to the first one is not asked for again"


def test_an_upload_that_never_gets_whole_is_given_up(tmp_path: Path) -> None:
    session = Reply(200, {"id": "u", "offset": 5, "size_bytes": 5, "chunk_bytes": CHUNK})
    missing = Reply(409, {"code": "CONFLICT", "message": "Bytes are missing."}, {"Upload-Offset": "0"})
    with scripted(Reply(200, {"items": [{"model_id": None}]}), *[session, missing] * subject.TRIES) as server:
        with Runflow(server.url, "rf_live_x") as api, pytest.raises(Conflict, match="missing"):
            api.upload_model(saved(tmp_path, b"world"))
        assert server.replies == []
