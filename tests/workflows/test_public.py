"""Public workflows of other organizations: what may be read and run, and what stays hidden."""

import hashlib
import io
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.deployed import PROMPT, MakeWorker
from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import body, plugin_body


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "png")
    return file.getvalue()


PNG = _png()
HIDDEN = {
    "golden_run",
    "workflow_json",
    "graph",
    "environment",
    "models",
    "custom_nodes",
    "resources",
    "versions",
    "warnings",
    "can_run",
}


@pytest.fixture
async def theirs(other_client: httpx.AsyncClient) -> dict[str, Any]:
    """A public workflow of another organization than `client`'s, with everything that can be hidden."""
    return await created(other_client, {**plugin_body(), "is_public": True})


async def uploaded(client: httpx.AsyncClient, filename: str) -> str:
    sent = {"filename": filename, "mime_type": "image/png", "size_bytes": len(PNG)}
    session = (await client.post("/v1/asset-uploads", json=sent)).json()
    stored = await client.put(session["upload_url"], content=PNG, headers={"Content-Type": "image/png"})
    assert stored.status_code == 200, stored.text
    answer = await client.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations", json={})
    assert answer.status_code == 201, answer.text
    return str(session["asset_id"])


async def test_it_is_read_by_id_and_by_path_without_what_is_the_owners(
    client: httpx.AsyncClient, theirs: dict[str, Any]
) -> None:
    by_id = await client.get(f"{ROUTE}/{theirs['id']}")
    by_path = await client.get(f"{ROUTE}/{theirs['path']}")
    assert by_id.status_code == by_path.status_code == 200
    assert by_id.json() == by_path.json()
    assert by_id.json() == {name: value for name, value in theirs.items() if name not in HIDDEN} | {"created_by": None}


async def test_fields_and_embeds_open_nothing(client: httpx.AsyncClient, theirs: dict[str, Any]) -> None:
    for address in (theirs["id"], theirs["path"]):
        asked = ",".join(sorted(HIDDEN - {"versions", "warnings", "can_run"}))
        assert (await client.get(f"{ROUTE}/{address}?fields=name,{asked}")).json() == {"name": theirs["name"]}
        assert (await client.get(f"{ROUTE}/{address}?fields=slug,inputs&embed=outputs")).json() == {
            name: theirs[name] for name in ("slug", "inputs", "outputs")
        }
        answer = await client.get(f"{ROUTE}/{address}?embed=versions")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_its_inputs_and_outputs_are_read_by_id(client: httpx.AsyncClient, theirs: dict[str, Any]) -> None:
    for kind in ("inputs", "outputs"):
        answer = await client.get(f"{ROUTE}/{theirs['id']}/{kind}", params={"sort_by": "sort_order", "limit": 1})
        assert answer.json()["items"] == theirs[kind][:1]
        row = theirs[kind][0]
        assert (await client.get(f"{ROUTE}/{theirs['id']}/{kind}/{row['id']}")).json() == row
        assert (await client.get(f"{ROUTE}/any/{kind}")).json()["items"] == []
        assert (await client.get(f"{ROUTE}/{theirs['id']}/{kind}/{new_id()}")).status_code == 404
    answer = await client.get(f"{ROUTE}/{theirs['id']}/inputs", params={"q": "name:nothing"})
    assert answer.json()["items"] == []


async def test_lists_hold_own_rows_only(client: httpx.AsyncClient, theirs: dict[str, Any]) -> None:
    assert (await client.get(ROUTE, params={"q": "is_public:true"})).json()["items"] == []


async def test_every_write_is_a_404(client: httpx.AsyncClient, theirs: dict[str, Any]) -> None:
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PATCH", "", {"name": "Mine"}),
        ("DELETE", "", None),
        ("POST", "/rollbacks", {"version": "1"}),
        ("POST", "/restorations", None),
        ("POST", "/inputs", {"name": "prompt"}),
        ("GET", "/versions", None),
        ("GET", "/versions/1", None),
    ]
    for method, path, sent in calls:
        answer = await client.request(method, f"{ROUTE}/{theirs['id']}{path}", json=sent)
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND"), (method, path)


@pytest.mark.parametrize("closing", [{"is_public": False}, {"status_code": "disabled"}, None])
async def test_private_disabled_and_deleted_ones_are_invisible(
    client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    theirs: dict[str, Any],
    closing: dict[str, Any] | None,
) -> None:
    reads = [
        f"{ROUTE}/{theirs['id']}",
        f"{ROUTE}/{theirs['path']}",
        f"{ROUTE}/{theirs['id']}/inputs",
        f"{ROUTE}/{theirs['id']}/outputs/{theirs['outputs'][0]['id']}",
        f"{ROUTE}/{theirs['path']}/openapi.json",
        f"{ROUTE}/{theirs['path']}/runs",
    ]
    for address in reads:
        assert (await client.get(address)).status_code == 200, address
    if closing is None:
        await other_client.delete(f"{ROUTE}/{theirs['id']}")
    else:
        await other_client.patch(f"{ROUTE}/{theirs['id']}", json=closing)
    for address in reads:
        answer = await client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND"), address
    answer = await client.post(f"{ROUTE}/{theirs['path']}/runs", json={"input": {"prompt": "a"}})
    assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")


async def test_the_api_role_still_reads_no_foreign_row(
    client: httpx.AsyncClient, services: Services, theirs: dict[str, Any]
) -> None:
    caller = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert caller is not None
    async with services.db.tenant(caller.org_id) as transaction:
        for table in ("workflows", "workflow_versions", "workflow_inputs", "workflow_outputs"):
            assert await transaction.one_value(f"SELECT count(*) FROM {table}", of=int) == 0


async def test_a_run_belongs_to_its_caller_and_gets_the_owners_files(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, make_worker: MakeWorker
) -> None:
    style, photo = await uploaded(other_client, "style.png"), await uploaded(client, "photo.png")
    gpu = f"GPU-{new_id().hex[-8:]}"
    default = f"runflow://assets/{style}"
    theirs = await created(
        other_client,
        body(
            "Shared", workflow_json=PROMPT, is_public=True, gpu_mode="explicit", gpu_explicit_models=[gpu],
            resources={"style.png": {"asset_id": style}}, inputs=[{"name": "photo", "default_value": default}],
        ),
    )  # fmt: skip
    address = f"{ROUTE}/{theirs['path']}/runs"

    stolen = await client.post(address, json={"input": {"prompt": "a", "photo": default}})
    assert (stolen.status_code, stolen.json()["errors"][0]["type"]) == (422, "unknown_asset")

    answer = await client.post(address, json={"input": {"prompt": "an otter", "photo": f"runflow://assets/{photo}"}})
    assert answer.status_code == 201, answer.text
    run = answer.json()
    assert (run["comfyui_workflow_id"], run["org_id"] == theirs["org_id"]) == (theirs["id"], False)

    worker = await make_worker(gpu)
    lease = await worker.lease()
    assert lease is not None
    assert lease["run_id"] == run["id"]
    assert lease["version"]["prompt"] == PROMPT
    (placed,) = lease["resources"]
    assert (placed["path"], placed["sha256"]) == ("style.png", hashlib.sha256(PNG).hexdigest())
    for url in (placed["url"], lease["files"][default]["url"], lease["files"][f"runflow://assets/{photo}"]["url"]):
        assert (await client.get(url)).content == PNG
    await worker.heartbeat(lease, {"number": 1, "type": "status", "data": {}, "at": run["created_at"]})
    output = await worker.upload(lease)
    assert (await worker.complete(lease, outputs=[output])).status_code == 200

    done = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert (done["status_code"], done["output"]["outputs"][0]["output_id"]) == ("succeeded", "picture")
    assert [row["id"] for row in (await client.get(address)).json()["items"]] == [run["id"]]
    assert (await other_client.get(address)).json()["items"] == []
    assert (await other_client.get(f"/v1/runs/{run['id']}")).status_code == 404


@pytest.mark.parametrize("rerun", [False, True])
async def test_the_owners_node_titles_reach_no_run_of_others(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, make_worker: MakeWorker, rerun: bool
) -> None:
    """A worker that is not told them can tell them in no node run, event or failure."""
    gpu, title = f"GPU-{new_id().hex[-8:]}", "for client Acme, do not show"
    titled = {key: {**node, "_meta": {"title": title, "note": title}} for key, node in PROMPT.items()}
    sent = body("Shared", workflow_json=titled, is_public=True, gpu_mode="explicit", gpu_explicit_models=[gpu])
    theirs, worker = await created(other_client, sent), await make_worker(gpu)
    for caller, shown in ((client, False), (other_client, True), (client, False)):
        run = (await caller.post(f"{ROUTE}/{theirs['path']}/runs", json={"input": {"prompt": "a"}})).json()
        if rerun:
            await caller.post(f"/v1/runs/{run['id']}/cancellation", json={})
            run = (await caller.post(f"/v1/runs/{run['id']}/reruns", json={})).json()
        lease = await worker.lease()
        assert lease is not None and lease["run_id"] == run["id"]
        assert lease["version"]["prompt"] == (titled if shown else PROMPT)
        assert (title in repr(lease)) == shown
        assert (await worker.fail(lease, "EXECUTION_FAILED")).status_code == 200


async def test_usage_is_the_callers(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, make_worker: MakeWorker, services: Services
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    sent = body("Shared", workflow_json=PROMPT, is_public=True, gpu_mode="explicit", gpu_explicit_models=[gpu])
    theirs = await created(other_client, sent)
    run = (await client.post(f"{ROUTE}/{theirs['path']}/runs", json={"input": {"prompt": "a"}})).json()
    worker = await make_worker(gpu)
    lease = await worker.lease()
    assert lease is not None
    output = await worker.upload(lease)
    timings = {"prepare_ms": 1, "load_ms": 2, "execute_ms": 3, "upload_ms": 4}
    assert (await worker.complete(lease, outputs=[output], timings=timings)).status_code == 200
    async with services.db.system() as transaction:
        statement = "SELECT org_id FROM usage_records WHERE run_id = %(run)s"
        assert await transaction.values(statement, {"run": run["id"]}, of=UUID) == [UUID(run["org_id"])]
    assert run["org_id"] != theirs["org_id"]
