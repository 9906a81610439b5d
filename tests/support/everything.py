"""An organization that has one of everything, and how each route of the table is called for it.

A new route needs nothing here when its parameters are known; a new resource needs a line in `make`, a new body one in
`BODIES`. The sweeps fail where one is missing.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import httpx

from runflow.accounts.keys import service as keys
from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.ids import new_id
from runflow.server import ROUTES
from runflow.sources import queries as sources
from runflow.web.route_table import Access
from runflow.web.services import Services
from tests.support.application import new_org, open_client
from tests.support.deployed import PROMPT, Worker
from tests.support.http_server import QuietHandler, serving
from tests.support.picture_corpus import data_uri, good, png

Route = tuple[str, str]

OF_KEYS: list[Route] = [
    route for route, needed in ROUTES.access.items() if isinstance(needed, frozenset) or needed is Access.ANY_KEY
]
"""Every route that an API key opens."""

RESOURCE_OF_ID = {
    "/v1/comfyui-workflows/{id}": "workflow",
    "/v1/comfyui-workflows/{id}/golden-runs": "candidate",
    "/v1/comfyui-workflows/{id}/promotions": "candidate",
    "/v1/comfyui-workflows/{comfyui_workflow_id}/inputs/{id}": "input",
    "/v1/comfyui-workflows/{comfyui_workflow_id}/outputs/{id}": "output",
    "/v1/runs/{id}": "run",
    "/v1/runs/{run_id}/logs/{id}": "log",
    "/v1/runs/{run_id}/node-runs/{id}": "node_run",
    "/v1/batches/{id}": "batch",
    "/v1/batches/{batch_id}/items/{id}": "item",
    "/v1/callback-secrets/{id}": "callback_secret",
    "/v1/webhooks/{id}": "webhook",
    "/v1/webhooks/{webhook_id}/deliveries/{id}": "delivery",
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/attempts/{id}": "attempt",
    "/v1/asset-uploads/{id}": "upload",
    "/v1/assets/{id}": "asset",
    "/v1/model-uploads/{id}": "model_upload",
    "/v1/models/{id}": "model",
    "/v1/asset-folders/{id}": "folder",
    "/v1/evaluations/{id}": "evaluation",
    "/v1/organizations/{id}": "organization",
    "/v1/organizations/{organization_id}/members/{id}": "member",
    "/v1/api-keys/{id}": "api_key",
    "/v1/workers/{id}": "worker",
    "/v1/sources/{id}": "source",
}
"""What `{id}` is, by the longest beginning of a route."""

NAMED = {
    "comfyui_workflow_id": "workflow",
    "run_id": "run",
    "batch_id": "batch",
    "webhook_id": "webhook",
    "delivery_id": "delivery",
    "evaluation_id": "evaluation",
    "organization_id": "organization",
    "owner": "owner",
    "slug": "slug",
    "version": "version",
    "example_id": "example",
    "golden_run_id": "golden_run",
}
"""What every other parameter is."""

CODES = {
    "/v1/comfyui-workflows/categories/{code}": "audio",
    "/v1/webhooks/event-types/{code}": "run.completed",
    "/v1/gpus/{code}": "L4",
}
"""Codes of tables that are the same for everybody."""

_IMAGE = data_uri(png(good("portrait", 1, 64, 64)))
_GRAPH: dict[str, Any] = {**PROMPT, "5": {"class_type": "Anything", "inputs": {"free": "x", "image": ["4", 0]}}}
_COMMIT = "0123456789" * 4
_RUN = {"input": {"prompt": "an otter"}}

BODIES: dict[Route, Any] = {
    ("POST", "/v1/comfyui-workflows"): {"name": "Another", "workflow_json": _GRAPH},
    ("PATCH", "/v1/comfyui-workflows/{id}"): {"name": "Renamed"},
    ("POST", "/v1/comfyui-workflows/{id}/rollbacks"): {"version": "1"},
    ("POST", "/v1/comfyui-workflows/{id}/restorations"): {},
    ("POST", "/v1/comfyui-workflows/{id}/promotions"): {"version": "1"},
    ("POST", "/v1/comfyui-workflows/{id}/examples"): {"name": "other", "input": {"prompt": "two otters"}},
    ("POST", "/v1/comfyui-workflows/{id}/golden-runs"): {"version": "1"},
    ("POST", "/v1/comfyui-workflows/{comfyui_workflow_id}/inputs"): {
        "name": "free",
        "variable_type_code": "string",
        "comfyui_node_id": "5",
        "comfyui_field_name": "free",
        "is_required": False,
    },
    ("PATCH", "/v1/comfyui-workflows/{comfyui_workflow_id}/inputs/{id}"): {"display_name": "Words"},
    ("POST", "/v1/comfyui-workflows/{comfyui_workflow_id}/outputs"): {
        "name": "other",
        "variable_type_code": "image",
        "comfyui_node_id": "5",
        "comfyui_field_name": "other",
    },
    ("PATCH", "/v1/comfyui-workflows/{comfyui_workflow_id}/outputs/{id}"): {"display_name": "Picture"},
    ("POST", "/v1/comfyui-workflows/{owner}/{slug}/runs"): _RUN,
    ("POST", "/v1/models/{owner}/{slug}/runs"): _RUN,
    ("POST", "/v1/runs/{id}/cancellation"): {},
    ("POST", "/v1/admin/runs/{run_id}/cancellation"): {"reason": "because"},
    ("POST", "/v1/runs/{id}/reruns"): {},
    ("POST", "/v1/comfyui-workflows/{owner}/{slug}/batches"): {"items": [_RUN]},
    ("POST", "/v1/models/{owner}/{slug}/batches"): {"items": [_RUN]},
    ("POST", "/v1/batches/{id}/cancellation"): {},
    ("POST", "/v1/callback-secrets"): {"label": "x"},
    ("PATCH", "/v1/callback-secrets/{id}"): {"label": "y"},
    ("POST", "/v1/webhooks"): {"url": "https://hooks.example/x", "event_subscriptions": ["run.failed"]},
    ("PATCH", "/v1/webhooks/{id}"): {"label": "y"},
    ("POST", "/v1/webhooks/{id}/test-deliveries"): {},
    ("POST", "/v1/model-lookups"): {"items": []},
    ("POST", "/v1/model-uploads"): {"sha256": "0" * 64, "size_bytes": 5, "filename": "a.safetensors"},
    ("POST", "/v1/asset-lookups"): {"items": []},
    ("POST", "/v1/asset-uploads"): {"filename": "a.txt", "mime_type": "text/plain", "size_bytes": 5},
    ("POST", "/v1/asset-uploads/{id}/confirmations"): {},
    ("PATCH", "/v1/assets/{id}"): {"name": "b.txt"},
    ("POST", "/v1/asset-folders"): {"name": "Folder 2"},
    ("PATCH", "/v1/asset-folders/{id}"): {"name": "Folder 3"},
    ("POST", "/v1/evaluations"): {"generated_image_url": _IMAGE, "task_type": "headshot"},
    ("PATCH", "/v1/evaluations/{evaluation_id}/feedback"): {"is_positive": True},
    ("PATCH", "/v1/runs/{run_id}/evaluations/{evaluation_id}/feedback"): {"is_positive": True},
    ("POST", "/v1/organizations"): {"name": "Another one"},
    ("PATCH", "/v1/organizations/{id}"): {"name": "Renamed"},
    ("POST", "/v1/organizations/{organization_id}/members"): {"email": "one-more@example.com"},
    ("PATCH", "/v1/organizations/{organization_id}/members/{id}"): {"first_name": "Ada"},
    ("POST", "/v1/api-keys"): {"name": "another", "scopes": []},
    ("PATCH", "/v1/gpus/{code}"): {"name": "NVIDIA L4"},
    ("PATCH", "/v1/workers/{id}"): {"draining": False},
    ("PATCH", "/v1/billing/balance"): {"low_balance_threshold": "1"},
}
"""A body that each route takes."""

RAW: dict[Route, tuple[bytes, dict[str, str]]] = {
    ("PUT", "/v1/model-uploads/{id}/chunks"): (b"hello", {"Content-Range": "bytes 0-4/5"}),
}
"""Bytes that each route takes which takes no JSON, with the headers that say what they are."""


_TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class TableHash:
    """A hash over an organization's rows of a table."""

    name: str
    hash: str


@dataclass
class Everything:
    """One organization, a caller of it, and the ids of what it has, by the word for it."""

    services: Services
    client: httpx.AsyncClient
    org_id: Any
    ids: dict[str, str] = field(default_factory=dict)

    async def call(self, route: Route, client: httpx.AsyncClient | None = None, **options: Any) -> httpx.Response:
        """Call a route for what this organization has, as its own caller or as another."""
        method, path = route
        if route in BODIES and "content" not in options:
            options.setdefault("json", fresh(BODIES[route]))
        if route in RAW and not {"content", "json"} & set(options):
            options["content"], headers = RAW[route]
            options["headers"] = {"Content-Type": "application/octet-stream"} | headers | options.get("headers", {})
        return await (client or self.client).request(method, address(path, self.ids), **options)

    async def rows(self) -> dict[str, Any]:
        """Return a hash of all rows of the organization, by table.

        Not counted is what changes by itself: when a key was last used, and the sweeper's doubt about what runs left
        behind, which it sets once soon after the server's start.
        """
        async with self.services.db.system() as transaction:
            names = await transaction.values(_TABLES, of=str)
            parts = [
                f"SELECT '{name}' AS name, (SELECT md5(coalesce(string_agg(row, '|' ORDER BY row), '')) FROM "
                f"(SELECT (to_jsonb(t) - %(aside)s::text[])::text AS row FROM {name} t WHERE org_id = %(org)s) r) hash"
                for name in names
            ]
            parts.append("SELECT 'organizations', (SELECT md5(t::text) FROM organizations t WHERE id = %(org)s)")
            of = {"org": self.org_id, "aside": ["last_used_at", "has_leftovers"]}
            found = await transaction.rows(" UNION ALL ".join(parts), of, row=TableHash)
            return {row.name: row.hash for row in found}


def served_order(routes: Iterable[Route]) -> list[Route]:
    """Return routes in an order in which one organization can be served all of them: what is deleted goes last."""
    last = ("PATCH", "POST", "DELETE")
    return sorted(routes, key=lambda route: (last.index(route[0]) + 1 if route[0] in last else 0, -len(route[1])))


def fresh(body: Any) -> Any:
    """Return the body with a name that nothing has yet, where names must differ."""
    if isinstance(body, dict) and body.get("name") in ("Another", "Another one", "Folder 2", "free", "other"):
        return {**body, "name": f"{body['name'].lower().replace(' ', '_')}_{new_id().hex[-12:]}"}
    if isinstance(body, dict) and "email" in body:
        return {**body, "email": f"{new_id().hex}@example.com"}
    return body


def address(path: str, ids: dict[str, str], instead: Mapping[str, str] = MappingProxyType({})) -> str:
    """Fill in a route's parameters, those that `instead` names with its values."""
    if path in CODES and "code" not in instead:
        return path.replace("{code}", CODES[path])
    resource = next(
        (
            word
            for start, word in sorted(RESOURCE_OF_ID.items(), key=lambda item: -len(item[0]))
            if path.startswith(start)
        ),
        None,
    )

    def value(match: "re.Match[str]") -> str:
        name = match[1]
        if name in instead:
            return instead[name]
        word = resource if name == "id" else NAMED.get(name)
        assert word is not None, f"say in tests/support/everything.py what {{{name}}} of {path} is"
        return ids[word]

    return re.sub(r"\{(\w+)(?::path)?\}", value, path)


@asynccontextmanager
async def make(services: Services) -> AsyncIterator[Everything]:
    """Make an organization that has one of everything, by the API as its users do, and let it come to rest."""
    # The installation's first organization is the operator's: this one shall be one like any other.
    _, org = await new_org(services), await new_org(services)
    async with services.db.tenant(org) as transaction:
        key = await keys.create(transaction, org_id=org, name="everything", scopes=ALL_SCOPES)
    async with services.db.system() as transaction:
        _, token = await keys.create_worker_token(transaction, "everything")
    with serving(_Receiver) as target:
        async with open_client(services, key["key"]) as client, open_client(services, token) as http:
            made = Everything(services, client, org)
            await _workflow(made)
            await _rest(made, target)
            await _runs(made, Worker(http, f"worker-{new_id().hex[-8:]}", made.ids["gpu"]), target)
            await _settled(services, org)
            yield made


async def _post(made: Everything, path: str, body: Any, status: int = 201) -> dict[str, Any]:
    answer = await made.client.post(path, json=body)
    assert answer.status_code == status, f"POST {path}: {answer.text}"
    return dict(answer.json())


async def _workflow(made: Everything) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    body = {"name": "Portrait", "workflow_json": _GRAPH, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    body["custom_nodes"] = {"grow": {"origin": f"https://git.example/{gpu}", "commit": _COMMIT}}
    workflow = await _post(made, "/v1/comfyui-workflows", body)
    async with made.services.db.tenant(made.org_id) as transaction:
        (source,) = await sources.name(transaction, [(f"https://git.example/{gpu}", _COMMIT)])
    made.ids["source"] = str(source.id)
    owner, slug = workflow["path"].split("/")
    made.ids |= {"workflow": workflow["id"], "owner": owner, "slug": slug, "version": "1", "gpu": gpu}
    example = {"name": "otter", "input": {"prompt": "an otter"}}
    ids = made.ids
    ids["example"] = (await _post(made, f"/v1/comfyui-workflows/{workflow['id']}/examples", example))["id"]
    # Its first version is being tested, which nobody ends: its runs wait for a class that no worker has.
    untested = {**body, "name": "Candidate", "gpu_explicit_models": ["NONE"], "examples": [example], "golden": True}
    candidate = await _post(made, "/v1/comfyui-workflows", untested)
    ids |= {"candidate": candidate["id"], "golden_run": candidate["golden_run"]["id"]}
    await _post(made, f"/v1/comfyui-workflows/{candidate['id']}/golden-runs/{ids['golden_run']}/cancellation", {})
    for word in ("input", "output"):
        listed = await made.client.get(f"/v1/comfyui-workflows/{workflow['id']}/{word}s")
        made.ids[word] = listed.json()["items"][0]["id"]


async def _rest(made: Everything, target: str) -> None:
    ids = made.ids
    ids["organization"] = str(made.org_id)
    for label in ("the current one, which stays", "x"):
        ids["callback_secret"] = (await _post(made, "/v1/callback-secrets", {"label": label}))["id"]
    hook = {"url": target, "event_subscriptions": ["run.completed"]}
    ids["webhook"] = (await _post(made, "/v1/webhooks", hook))["id"]
    ids["folder"] = (await _post(made, "/v1/asset-folders", {"name": "Folder"}))["id"]
    for word in ("upload", "asset"):
        session = await _post(made, "/v1/asset-uploads", BODIES[("POST", "/v1/asset-uploads")])
        stored = await made.client.put(session["upload_url"], content=b"hello", headers={"Content-Type": "text/plain"})
        assert stored.is_success, stored.text
        if word == "asset":
            await _post(made, f"/v1/asset-uploads/{session['asset_id']}/confirmations", {})
        ids[word] = session["asset_id"]
    for word, content in (("model_upload", b"hello"), ("model", b"world")):
        declared = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": 5, "filename": "a.safetensors"}
        ids[word] = (await _post(made, "/v1/model-uploads", declared))["id"]
        place, whole = f"/v1/model-uploads/{ids[word]}", {"Content-Range": "bytes 0-4/5"}
        assert (await made.client.put(f"{place}/chunks", content=content, headers=whole)).is_success
        if word == "model":
            ids[word] = (await _post(made, f"{place}/confirmations", {}))["id"]
    members = f"/v1/organizations/{made.org_id}/members"
    await _post(made, members, {"email": f"{new_id().hex}@example.com", "role_code": "owner"})
    ids["member"] = (await _post(made, members, {"email": f"{new_id().hex}@example.com"}))["id"]
    ids["api_key"] = (await _post(made, "/v1/api-keys", {"name": "x", "scopes": []}))["id"]


async def _runs(made: Everything, worker: Worker, target: str) -> None:
    ids = made.ids
    await worker.register()
    ids["worker"] = worker.worker_id
    path = f"/v1/comfyui-workflows/{ids['owner']}/{ids['slug']}"
    ids["run"] = (await _post(made, f"{path}/runs", {**_RUN, "callback_url": target}))["id"]
    ids["batch"] = (await _post(made, f"{path}/batches", {"items": [_RUN], "callback_url": target}))["id"]
    waiting = {ids["run"], (await _items(made, f"/v1/batches/{ids['batch']}/items"))[0]["run_id"]}
    while waiting:
        lease = await worker.lease(wait=25)
        assert lease is not None
        at = datetime.now(UTC).isoformat()  # an older one would be forgotten by the server while tests look at it
        await worker.heartbeat(lease, {"number": 1, "type": "log", "at": at, "data": {"message": "hello"}})
        node = {"node_id": "4", "node_type": "Anything", "state_code": "succeeded", "duration_ms": 1}
        answer = await worker.complete(lease, outputs=[await worker.upload(lease)], nodes=[node])
        assert answer.status_code == 200, answer.text
        waiting.discard(lease["run_id"])  # what other tests left waiting may come first
    for word, route in (
        ("log", f"/v1/runs/{ids['run']}/logs"),
        ("node_run", f"/v1/runs/{ids['run']}/node-runs"),
        ("item", f"/v1/batches/{ids['batch']}/items"),
    ):
        listed = await made.client.get(route)
        assert listed.status_code == 200 and listed.json()["items"], f"{route}: {listed.text}"
        ids[word] = listed.json()["items"][0]["id"]
    body = {"generated_image_url": _IMAGE, "task_type": "headshot", "run_id": ids["run"]}
    ids["evaluation"] = (await _post(made, "/v1/evaluations", body, 202))["id"]
    async with asyncio.timeout(60):
        while not (await _items(made, f"/v1/webhooks/{ids['webhook']}/deliveries?q=status_code:succeeded")):
            await asyncio.sleep(0.05)
    ids["delivery"] = (await _items(made, f"/v1/webhooks/{ids['webhook']}/deliveries"))[0]["id"]
    attempts = await _items(made, f"/v1/webhooks/{ids['webhook']}/deliveries/{ids['delivery']}/attempts")
    ids["attempt"] = attempts[0]["id"]


async def _items(made: Everything, path: str) -> list[dict[str, Any]]:
    answer = await made.client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return list(answer.json()["items"])


_UNSETTLED = """
    SELECT (SELECT count(*) FROM deliveries WHERE org_id = %(org)s AND status_code = 'pending')
         + (SELECT count(*) FROM evaluations WHERE org_id = %(org)s AND completed_at IS NULL)
         + (SELECT count(*) FROM golden_runs WHERE org_id = %(org)s AND due_at IS NOT NULL)
"""


async def _settled(services: Services, org: Any) -> None:
    """Wait until nothing of the organization changes by itself any more."""
    async with asyncio.timeout(60):
        while True:
            async with services.db.system() as transaction:
                if await transaction.value(_UNSETTLED, {"org": org}, of=int) == 0:
                    break
            await asyncio.sleep(0.1)
    await services.authenticator.note_use()


class _Receiver(QuietHandler):
    """A target that answers 200 to everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
