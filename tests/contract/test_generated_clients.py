"""What people generate from the OpenAPI document, in strict types and against a running server: dispatch, poll, upload.

`scripts/setup --dev` installs the generators; without npm the one of TypeScript is skipped.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from tests.support.deployed import PROMPT, Worker
from tests.support.platform_fixtures import Platform, installation
from tests.support.source import ROOT

BIN = Path(sys.executable).parent
NODE_MODULES = ROOT / "node_modules"

TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

type Run = components["schemas"]["Run"];

const [url, key, owner, slug] = process.argv.slice(2) as [string, string, string, string];
const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

function given<T>(answer: { data?: T; error?: { code: string; message: string } }): T {
  if (answer.data === undefined) throw new Error(answer.error?.message);
  return answer.data;
}

async function main(): Promise<void> {
  const content = new Uint8Array([1, 2, 3]);
  const file = { filename: "notes.bin", mime_type: "application/octet-stream", size_bytes: content.length };
  const session = given(await api.POST("/v1/asset-uploads", { body: file }));
  const headers = { "Content-Type": file.mime_type };
  const sent = await fetch(session.upload_url, { method: "PUT", body: content, headers });
  if (!sent.ok) throw new Error(await sent.text());
  const id: string = session.asset_id;
  const asset = given(await api.POST("/v1/asset-uploads/{id}/confirmations", { params: { path: { id } }, body: {} }));

  const dispatched: Run = given(
    await api.POST("/v1/comfyui-workflows/{owner}/{slug}/runs", {
      params: { path: { owner, slug } },
      body: { input: { prompt: "an otter" }, metadata: { asset: asset.id } },
    }),
  );
  let run: Run = dispatched;
  while (!run.is_terminal) {
    run = given(await api.GET("/v1/runs/{id}", { params: { path: { id: dispatched.id }, query: { wait: 60 } } }));
  }
  const listed = given(await api.GET("/v1/runs", { params: { query: { status: "succeeded" } } }));
  const urls: string[] = run.output === null ? [] : run.output.outputs.map((output) => output.url);
  const ids: string[] = listed.items.map((item) => item.id);
  console.log(JSON.stringify({ id: run.id, status: run.status_code, model: run.model, asset: asset.id, urls, ids }));
}

void main();
"""

STRICT = {
    **dict.fromkeys(("strict", "exactOptionalPropertyTypes", "noUncheckedIndexedAccess"), True),
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2023", "dom"],
    "types": [],
}

PYTHON = """
import json
import sys
from uuid import UUID

import httpx

from runflow_api import AuthenticatedClient
from runflow_api.api.assets import create_asset_upload, create_asset_upload_confirmation
from runflow_api.api.runs import create_comfyui_workflow_run, get_run, list_runs
from runflow_api.models import (
    AssetRecord,
    Confirmation,
    UploadCreate,
    DispatchRequest,
    DispatchRequestInput,
    ListEnvelopeRun,
    Run,
    UploadSession,
)

url, key, owner, slug = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=key, timeout=httpx.Timeout(70)) as client:
    content = b"123"
    file = UploadCreate(filename="notes.bin", mime_type="application/octet-stream", size_bytes=len(content))
    session = create_asset_upload.sync(client=client, body=file)
    assert isinstance(session, UploadSession), session
    sent = httpx.put(session.upload_url, content=content, headers={"Content-Type": "application/octet-stream"})
    sent.raise_for_status()
    asset = create_asset_upload_confirmation.sync(session.asset_id, client=client, body=Confirmation())
    assert isinstance(asset, AssetRecord), asset

    values = DispatchRequestInput()
    values["prompt"] = "an otter"
    run = create_comfyui_workflow_run.sync(owner, slug, client=client, body=DispatchRequest(input_=values))
    assert isinstance(run, Run), run
    run_id: UUID = run.id
    while not run.is_terminal:
        run = get_run.sync(run_id, client=client, wait=30)
        assert isinstance(run, Run), run
    listed = list_runs.sync(client=client, status="succeeded")
    assert isinstance(listed, ListEnvelopeRun), listed
    urls: list[str] = [] if run.output is None else [output.url for output in run.output.outputs]
    ids: list[str] = [str(item.id) for item in listed.items]
    told = {"id": str(run.id), "status": run.status_code, "model": run.model, "asset": str(asset.id)}
    print(json.dumps({**told, "urls": urls, "ids": ids}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    with installation(None, arguments=("--no-worker",)) as platform:
        yield platform


@pytest.fixture(scope="module")
def key(server: Platform) -> str:
    return server.key()


@pytest.fixture(scope="module")
def document(server: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(httpx.get(f"{server.url}/v1/openapi.json", timeout=60).raise_for_status().content)
    return path


@pytest.fixture
async def worker(server: Platform) -> AsyncIterator[Worker]:
    command = [sys.executable, "-m", "runflow", "keys", "create-worker", "--name", "double", "--json"]
    made = subprocess.run(command, env=server._env, check=True, stdout=subprocess.PIPE)
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=90) as client:
        double = Worker(client, f"double-{new_id().hex[-8:]}")
        await double.register()
        yield double


def done(command: Sequence[str | Path], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program to its good end in a folder, with the programs of .venv beside it."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran


async def check(server: Platform, key: str, worker: Worker, folder: Path, command: Sequence[str | Path]) -> None:
    """Let a client run, while a worker does what it dispatches, and look at what it tells."""
    async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        body = {"name": f"Generated {new_id()}", "workflow_json": PROMPT}
        path = (await http.post("/v1/comfyui-workflows", json=body)).raise_for_status().json()["path"]
        async with asyncio.TaskGroup() as group:
            running = group.create_task(asyncio.to_thread(done, [*command, server.url, key, *path.split("/")], folder))
            lease = await worker.lease(wait=30)
            assert lease is not None
            assert (await worker.complete(lease, outputs=[await worker.upload(lease)])).status_code == 200
        told: dict[str, Any] = json.loads(running.result().stdout)
        assert (told["id"], told["status"], told["model"]) == (lease["run_id"], "succeeded", path)
        assert told["id"] in told["ids"] and len(told["urls"]) == 1
        assert (await http.get(f"/v1/assets/{told['asset']}")).json()["size_bytes"] == 3


async def test_the_client_of_openapi_typescript(
    server: Platform, key: str, document: Path, worker: Worker, tmp_path: Path
) -> None:
    node, generator = shutil.which("node"), NODE_MODULES / ".bin/openapi-typescript"
    if node is None or not generator.exists():
        pytest.skip("no node, or no node_modules: scripts/setup --dev makes them where there is npm")
    done([generator, document, "-o", tmp_path / "api.d.ts"], tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node.d.ts").write_text("declare const process: { argv: string[] };")
    (tmp_path / "main.ts").write_text(TYPESCRIPT)
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": STRICT, "include": ["*.ts"]}))
    done([NODE_MODULES / ".bin/tsc", "-p", "."], tmp_path)
    await check(server, key, worker, tmp_path, [node, "main.js"])


async def test_the_client_of_openapi_python_client(
    server: Platform, key: str, document: Path, worker: Worker, tmp_path: Path
) -> None:
    package = ["--meta", "none", "--output-path", str(tmp_path / "runflow_api")]
    said = done([BIN / "openapi-python-client", "generate", "--path", document, *package], tmp_path).stderr
    # What workers send beside JSON is none of a caller's business; every other route has its function.
    assert "WARNING" not in said.replace("WARNING parsing POST /v1/worker/leases/{id}/completions", ""), said
    (tmp_path / "main.py").write_text(PYTHON)
    done([sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "main.py"], tmp_path)
    await check(server, key, worker, tmp_path, [sys.executable, "main.py"])
