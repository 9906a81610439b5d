import io
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runflow.outgoing import Fetched, GuardedClient, HttpStatusError, OutgoingTimeout
from runflow.protocol.failures import Failure
from runflow.worker.abilities.registration import no_folders
from runflow.worker.attempts.failures import RunFailed
from runflow.worker.attempts.lease import Lease
from runflow.worker.attempts.prepare import Fetching, fetch, place
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.content import ContentStore
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.known_hashes import KnownHashes
from runflow.worker.store.models import ModelFetcher
from runflow.worker.store.own_models import OwnModels
from runflow.worker.store.resources import ResourceCache
from tests.support.fake_server import PROMPT, FakeServer, make_lease
from tests.worker.scripted_engine import png


class Outgoing(GuardedClient):
    """Answers like the guarded client, from `answers`: bytes, a failure, or several of them in turn."""

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes | Exception]] = {}
        self.asked: list[str] = []

    async def fetch(self, url: str, *, limit: int, timeout: float, destination: Path) -> Fetched:
        self.asked.append(url)
        answer = self.answers[url].pop(0)
        if isinstance(answer, Exception):
            raise answer
        destination.write_bytes(answer)
        return Fetched(destination, len(answer), "image/png", "given.png", "0" * 64)


class Desk:
    """Everything that `prepare` needs, and where it put things."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.outgoing = Outgoing()
        self.cache = folder / "resources"
        store = ContentStore(folder / "store")
        own = OwnModels(folder / "comfyui", KnownHashes(folder / "own.jsonl"), no_folders)
        models = ModelFetcher(
            store, own, self.outgoing, credentials=Credentials(), allow_pickle=False, most_bytes=1 << 20
        )
        self.fetching = Fetching(connection, self.outgoing, ResourceCache(self.cache), models, 0.2, 1 << 20, 5.0)
        self.staging = folder / "staging"
        self.placed: dict[str, bytes] = {}

    async def place_input(self, path: Path, name: str) -> str:
        place = f"runflow/L/{name}"
        assert place not in self.placed
        self.placed[place] = path.read_bytes()
        return place

    async def prepare(self, lease: dict[str, Any]) -> dict[str, dict[str, Any]]:
        read = Lease.read(lease)
        fetched = await fetch(read, self.fetching, staging=self.staging / str(uuid.uuid4()))
        return await place(read, fetched, self.fetching, output_folder="runflow/L", place_input=self.place_input)

    async def failure(self, lease: dict[str, Any]) -> Failure:
        with pytest.raises(RunFailed) as ended:
            await self.prepare(lease)
        return ended.value.failure


@pytest.fixture
async def desk(connection: Connection, tmp_path: Path) -> AsyncIterator[Desk]:
    yield Desk(connection, tmp_path)


def asset() -> str:
    return f"runflow://assets/{uuid.uuid4()}"


def media(*names: str, kind: str = "image") -> dict[str, Any]:
    """A workflow that takes these files."""
    class_type = "RunflowInputImage" if kind == "image" else "RunflowInputFile"
    nodes = {f"{10 + i}": {"class_type": class_type, "inputs": {"input_id": name}} for i, name in enumerate(names)}
    users = {f"{20 + i}": {"class_type": "User", "inputs": {"value": [f"{10 + i}", 0]}} for i, _ in enumerate(names)}
    rows = [{"name": name, "variable_type_code": kind, "comfyui_node_id": f"{10 + i}"} for i, name in enumerate(names)]
    return {"prompt": {**PROMPT, **nodes, **users}, "inputs": rows}


def loaded(prompt: dict[str, dict[str, Any]], node_id: str) -> str:
    """The file that an image input node gets through its injected loader."""
    loader = prompt[node_id]["inputs"]["value"][0]
    return str(prompt[loader]["inputs"]["image"])


async def test_a_run_without_files_touches_no_disk(desk: Desk) -> None:
    prompt = await desk.prepare(make_lease())
    assert prompt["9"]["inputs"]["output_subfolder"] == "runflow/L"
    assert not desk.staging.exists()


async def test_two_inputs_with_one_file_name_do_not_collide(server: FakeServer, desk: Desk) -> None:
    one, other = asset(), asset()
    files = {
        one: server.serve("a/photo.png", png(3, 3)),
        other: server.serve("b/photo.png", png(5, 5)),
    }
    prompt = await desk.prepare(make_lease(**media("left", "right"), input={"left": one, "right": other}, files=files))
    left, right = loaded(prompt, "10"), loaded(prompt, "11")
    assert left != right
    assert desk.placed[left] == png(3, 3)
    assert desk.placed[right] == png(5, 5)


@pytest.mark.parametrize("name", ["../../evil.png", "C:\\evil.png", "a\0b.png", "x.png [output]", "é.png"])
async def test_no_name_leads_out_of_the_runs_folder(server: FakeServer, desk: Desk, name: str) -> None:
    reference = asset()
    row = server.serve("ok.png", png(), filename=name)
    await desk.prepare(make_lease(**media("photo"), input={"photo": reference}, files={reference: row}))
    [place] = desk.placed
    assert place.startswith("runflow/L/0-")
    assert place.count("/") == 2
    assert "[" not in place


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", png()[:30]])
async def test_an_image_that_is_not_an_image_names_the_input(server: FakeServer, desk: Desk, content: bytes) -> None:
    reference = asset()
    row = server.serve("photo.png", content)
    failure = await desk.failure(make_lease(**media("photo"), input={"photo": reference}, files={reference: row}))
    assert (failure.code, failure.stage, failure.retryable) == ("INPUT_VALIDATION_FAILED", "preprocess", False)
    assert 'Input "photo"' in failure.message
    assert failure.details == {"input": "photo"}


async def test_any_file_is_fine_for_a_file_input(server: FakeServer, desk: Desk) -> None:
    reference = asset()
    row = server.serve("clip.mp4", b"not really a video")
    lease = make_lease(**media("clip", kind="file"), input={"clip": reference}, files={reference: row})
    prompt = await desk.prepare(lease)
    assert prompt["10"]["inputs"]["value"] == "runflow/L/0-clip.mp4"


async def test_an_image_without_a_suffix_gets_one(server: FakeServer, desk: Desk) -> None:
    reference = asset()
    row = server.serve("upload", png())
    prompt = await desk.prepare(make_lease(**media("photo"), input={"photo": reference}, files={reference: row}))
    assert loaded(prompt, "10") == "runflow/L/0-upload.png"


async def test_a_large_picture_is_checked_in_a_thread(server: FakeServer, desk: Desk) -> None:
    noise = io.BytesIO()
    Image.effect_noise((1400, 1400), 90).save(noise, "PNG")
    assert len(noise.getvalue()) > 1 << 20
    reference = asset()
    row = server.serve("noise.png", noise.getvalue())
    prompt = await desk.prepare(make_lease(**media("photo"), input={"photo": reference}, files={reference: row}))
    assert desk.placed[loaded(prompt, "10")] == noise.getvalue()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"size_bytes": 10_000}, "bytes"),
        ({"size_bytes": 5}, "bytes or more"),
        ({"url": "gone"}, "404"),
    ],
)
async def test_an_asset_that_is_not_what_was_uploaded_is_not_used(
    server: FakeServer, desk: Desk, change: dict[str, Any], reason: str
) -> None:
    reference = asset()
    if "url" in change:
        change = {"url": f"{server.url}/v1/storage/gone"}
    row = server.serve("photo.png", png(), **change)
    failure = await desk.failure(make_lease(**media("photo"), input={"photo": reference}, files={reference: row}))
    assert (failure.code, failure.stage) == ("INPUT_FETCH_FAILED", "preprocess")
    assert reason in failure.message
    assert 'input "photo"' in failure.message
    assert not list(desk.staging.rglob("*.png"))


async def test_a_server_that_stays_away_fails_the_fetch_for_another_try(server: FakeServer, desk: Desk) -> None:
    reference = asset()
    row = server.serve("photo.png", png())
    await server.stop()
    failure = await desk.failure(make_lease(**media("photo"), input={"photo": reference}, files={reference: row}))
    assert (failure.code, failure.retryable) == ("INPUT_FETCH_FAILED", True)


async def test_a_callers_url_goes_through_the_guarded_client(desk: Desk) -> None:
    url = "https://example.com/photos/cat.png?token=SECRET"
    desk.outgoing.answers[url] = [png()]
    prompt = await desk.prepare(make_lease(**media("photo"), input={"photo": url}))
    assert loaded(prompt, "10") == "runflow/L/0-cat.png"
    assert desk.outgoing.asked == [url]


async def test_a_host_that_stumbles_is_asked_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runflow.worker.server_api.retry.Backoff.delay", lambda _: 0)
    url = "https://example.com/download"
    desk.outgoing.answers[url] = [HttpStatusError("example.com", 503), OutgoingTimeout("example.com", "late"), png()]
    prompt = await desk.prepare(make_lease(**media("photo"), input={"photo": url}))
    assert loaded(prompt, "10") == "runflow/L/0-given.png"


async def test_a_refusing_host_is_named_and_the_url_is_not(desk: Desk) -> None:
    url = "https://example.com/x.png?token=SECRET"
    desk.outgoing.answers[url] = [HttpStatusError("example.com", 404)]
    failure = await desk.failure(make_lease(**media("photo"), input={"photo": url}))
    assert (failure.code, failure.retryable) == ("INPUT_FETCH_FAILED", False)
    assert failure.details == {"input": "photo", "host": "example.com"}
    assert "404" in failure.message
    assert "SECRET" not in failure.message


async def test_of_two_inputs_the_failing_one_is_named(server: FakeServer, desk: Desk) -> None:
    good, bad = asset(), asset()
    files = {good: server.serve("good.png", png()), bad: server.serve("bad.png", b"no")}
    failure = await desk.failure(make_lease(**media("a", "b"), input={"a": good, "b": bad}, files=files))
    assert failure.details == {"input": "b"}


async def test_resources_are_placed_for_the_run_and_found_by_the_prompt(server: FakeServer, desk: Desk) -> None:
    prompt = {
        **PROMPT,
        "5": {"class_type": "LoadImage", "inputs": {"image": "ref/style.png", "upload": "image"}},
        "6": {"class_type": "LoadImage", "inputs": {"image": "ref\\style.png [input]"}},
        "7": {"class_type": "Text", "inputs": {"text": "ref/style.png and more", "seed": 3}},
    }
    row = server.serve("r1", png(2, 2))
    lease = make_lease(prompt=prompt, resources=[{"path": "ref/style.png", **row}])
    bound = await desk.prepare(lease)
    [place] = desk.placed
    assert bound["5"]["inputs"] == {"image": place, "upload": "image"}
    assert bound["6"]["inputs"]["image"] == place
    assert bound["7"]["inputs"]["text"] == "ref/style.png and more"
    assert lease["version"]["prompt"]["5"]["inputs"]["image"] == "ref/style.png"
    # The second run needs no request: the file is kept by its hash.
    desk.placed.clear()
    del server.files["r1"]
    await desk.prepare(lease)
    assert list(desk.placed.values()) == [png(2, 2)]


async def test_two_versions_with_one_name_and_other_bytes_never_mix(server: FakeServer, desk: Desk) -> None:
    prompt = {**PROMPT, "5": {"class_type": "LoadImage", "inputs": {"image": "style.png"}}}
    for content in (png(2, 2), png(3, 3), png(2, 2)):
        row = server.serve(f"r{len(content)}", content)
        bound = await desk.prepare(make_lease(prompt=prompt, resources=[{"path": "style.png", **row}]))
        assert desk.placed.pop(bound["5"]["inputs"]["image"]) == content


async def test_a_kept_resource_that_was_tampered_with_is_fetched_again(server: FakeServer, desk: Desk) -> None:
    row = server.serve("r", png())
    lease = make_lease(resources=[{"path": "style.png", **row}])
    await desk.prepare(lease)
    [kept] = desk.cache.iterdir()
    kept.write_bytes(b"evil")
    desk.placed.clear()
    await desk.prepare(lease)
    assert list(desk.placed.values()) == [png()]
    assert kept.read_bytes() == png()


async def test_a_resource_that_cannot_be_had_is_named(server: FakeServer, desk: Desk) -> None:
    row = server.serve("r", png(), sha256="1" * 64)
    failure = await desk.failure(make_lease(resources=[{"path": "ref/style.png", **row}]))
    assert (failure.code, failure.stage) == ("INPUT_FETCH_FAILED", "prepare")
    assert '"ref/style.png"' in failure.message
    assert not list(desk.cache.iterdir())


async def test_a_resource_without_a_known_hash_is_placed_too(server: FakeServer, desk: Desk) -> None:
    row = server.serve("r", png(), sha256=None)
    await desk.prepare(make_lease(resources=[{"path": "style.png", **row}]))
    assert list(desk.placed.values()) == [png()]


async def test_a_missing_value_is_a_failure_that_names_the_input(desk: Desk) -> None:
    failure = await desk.failure(make_lease(**media("photo")))
    assert (failure.code, failure.stage) == ("WORKFLOW_INVALID", "prepare")
    assert '"photo"' in failure.message


async def test_a_full_disk_is_the_workers_trouble(server: FakeServer, desk: Desk, tmp_path: Path) -> None:
    async def no_space(path: Path, name: str) -> str:
        raise OSError(28, "No space left on device")

    reference = asset()
    row = server.serve("photo.png", png())
    lease = make_lease(**media("photo"), input={"photo": reference}, files={reference: row})
    read = Lease.read(lease)
    fetched = await fetch(read, desk.fetching, staging=tmp_path / "s")
    with pytest.raises(RunFailed) as ended:
        await place(read, fetched, desk.fetching, output_folder="x", place_input=no_space)
    assert ended.value.failure.retryable
    assert "No space left on device" in ended.value.failure.message
