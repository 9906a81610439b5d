"""What a lease says of the models that its version needs."""

import hashlib

import httpx

from runflow.web.services import Services
from tests.support.application import MakeKey
from tests.support.deployed import PROMPT, MakeWorker
from tests.support.model_uploads import accepting, content, upload


async def test_a_lease_names_the_uploaded_models_of_its_version(
    services: Services, make_key: MakeKey, make_worker: MakeWorker
) -> None:
    data, gpu = content(0.01), "GPU-of-models"
    async with accepting(services, await make_key()) as client:
        model = await upload(client, data)
        manifest = {
            "checkpoints/mine.safetensors": {"sha256": model["sha256"].upper(), "size_bytes": len(data)},
            "checkpoints/elsewhere.safetensors": {"sha256": "0" * 64, "size_bytes": 7},
            "vae/unknown.safetensors": {"url": "https://example.com/vae.safetensors"},
        }
        body = {"name": "M", "workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
        made = (await client.post("/v1/comfyui-workflows", json={**body, "models": manifest})).json()
        dispatched = await client.post(f"/v1/comfyui-workflows/{made['path']}/runs", json={"input": {"prompt": "x"}})
        assert dispatched.status_code == 201, dispatched.text
        lease = await (await make_worker(gpu)).lease()
        assert lease is not None
        (named,) = lease["models"]
        assert (named["path"], named["size_bytes"]) == ("checkpoints/mine.safetensors", len(data))
        fetched: httpx.Response = await client.get(named["url"], headers={"Range": "bytes=100-"})
    assert (fetched.status_code, fetched.content) == (206, data[100:])
    assert named["sha256"] == hashlib.sha256(data).hexdigest()
