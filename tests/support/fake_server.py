"""A server that speaks docs/worker-api.md, in the test's own process, with faults to order.

The tester's double: the real pair of server and worker is tested end to end elsewhere.
"""

import asyncio
import hashlib
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from tests.support.platform_fixtures import free_port
from tests.support.waiting import until

TOKEN = "rf_work_" + "t" * 40


class FakeServer:
    """Hands out `leases` in order, keeps what it is told, and misbehaves as its attributes say."""

    def __init__(self) -> None:
        self.leases: deque[dict[str, Any]] = deque()
        self.files: dict[str, bytes] = {}
        self.registrations: list[dict[str, Any]] = []
        self.wants: list[str] = []
        """Lists of a worker's abilities that the next registration is asked for."""
        self.is_content = True
        """Whether it wants nothing more once it was sent that."""
        self.heartbeats: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.completions: dict[str, dict[str, Any]] = {}
        self.completion_requests: dict[str, int] = defaultdict(int)
        self.objects: dict[str, bytes] = {}
        self.brought: dict[str, bytes] = {}
        """What came with completions, by lease."""
        self.log: list[str] = []
        """Every request as `route` or `route lease`, in order."""
        self.cancel: set[str] = set()
        self.lost: set[str] = set()
        self.faults: dict[str, deque[int]] = defaultdict(deque)
        """HTTP statuses to answer next, by route: registrations, leases, heartbeats, uploads, completions, put."""
        self.polls = 0
        self.asked: list[dict[str, Any]] = []
        """The bodies of the asks for work."""
        self.given: dict[str, dict[str, Any]] = {}
        """The leases that were given out, by id."""
        self.offers_again = False
        """A run that was given back is the first that is offered again, under another lease."""
        self.polls_get_nothing = False
        """Runs are handed out with the answers to completions only."""
        self.known = True
        self.lease_seconds = 20
        self.offer_seconds = 5
        self.hold_downloads: asyncio.Event | None = None
        self.endless: set[str] = set()
        """Names of files whose download begins and never ends."""
        self.prebuilds: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """What workers without runs are given to prepare."""
        self.reports: list[dict[str, Any]] = []
        """What they tell of that."""
        self.hold_puts: asyncio.Event | None = None
        self.hold_answers: asyncio.Event | None = None
        self._runner: web.AppRunner | None = None
        self._port = free_port()  # not one that an outgoing connection may take while the server is away

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.post("/v1/worker/registrations", self._register),
                web.post("/v1/worker/leases", self._lease),
                web.post("/v1/worker/leases/{id}/heartbeats", self._heartbeat),
                web.post("/v1/worker/leases/{id}/uploads", self._uploads),
                web.post("/v1/worker/leases/{id}/completions", self._complete),
                web.post("/v1/worker/prebuilds", self._prebuild),
                web.post("/v1/worker/prebuilds/{id}/reports", self._report),
                web.put("/v1/storage/{key:.*}", self._put),
                web.get("/v1/storage/{key:.*}", self._get),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()

    async def stop(self) -> None:
        """Go away as if killed; `start` comes back on the same port with the same memory."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def offer(self, **changes: Any) -> str:
        """Put a run into the queue; returns its lease id."""
        lease = make_lease(**changes)
        self.leases.append(lease)
        return str(lease["id"])

    def serve(self, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
        """Make a file available; returns its row in `files`."""
        self.files[name] = content
        return {
            "url": f"{self.url}/v1/storage/{name}?signature=x",
            "filename": name.rpartition("/")[2],
            "mime_type": "application/octet-stream",
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            **changes,
        }

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` is true."""
        await until(condition)

    async def completion(self, lease_id: str) -> dict[str, Any]:
        await self.until(lambda: lease_id in self.completions)
        return self.completions[lease_id]

    def events(self, lease_id: str) -> list[dict[str, Any]]:
        """Every event of a lease, each number once."""
        told = [event for beat in self.heartbeats[lease_id] for event in beat["events"]]
        told += self.completions.get(lease_id, {}).get("events", [])
        return list({event["number"]: event for event in told}.values())

    async def _told(self, request: web.Request, route: str) -> dict[str, Any]:
        """Check what every request of the protocol must have; raise the next ordered fault."""
        lease_id = request.match_info.get("id", "")
        self.log.append(f"{route} {lease_id}".strip())
        content = await request.read()
        if request.headers["Content-Type"] == "application/vnd.runflow.parcel":
            length = int(content[:10])
            content, self.brought[lease_id] = content[10 : 10 + length], content[10 + length :]
        body: dict[str, Any] = orjson.loads(content)
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert body["protocol_version"] == 1
        assert uuid.UUID(body["instance"])
        self._fault(route)
        if lease_id in self.lost:
            raise problem(409, "LEASE_LOST", "This lease is no longer yours.")
        return body

    def _fault(self, route: str) -> None:
        if self.faults[route]:
            status = self.faults[route].popleft()
            raise problem(
                status,
                {401: "UNAUTHORIZED", 403: "URL_EXPIRED", 409: "WORKER_SUPERSEDED", 426: "UPGRADE_REQUIRED"}.get(
                    status, "FAULT"
                ),
            )

    async def _prebuild(self, request: web.Request) -> web.Response:
        await self._told(request, "prebuilds")
        return web.json_response({"prebuild": await self.prebuilds.get()})

    async def _report(self, request: web.Request) -> web.Response:
        body = await self._told(request, "reports")
        self.reports.append(body)
        return web.json_response({"expires_at": None})

    async def _register(self, request: web.Request) -> web.Response:
        body = await self._told(request, "registrations")
        self.registrations.append(body)
        self.known = True
        answer = {
            "worker_id": str(uuid.uuid4()),
            "lease_seconds": self.lease_seconds,
            "offer_seconds": self.offer_seconds,
            "poll_seconds": 25,
            "wants": self.wants,
        }
        self.wants = [] if self.is_content else self.wants
        return web.json_response(answer, status=201)

    async def _lease(self, request: web.Request) -> web.Response:
        body = await self._told(request, "leases")
        if not self.known:
            raise problem(409, "CONFLICT", "Register first.")
        self.polls += 1
        self.asked.append(body)
        try:
            async with asyncio.timeout(body["wait_seconds"]):
                while (
                    (lease := self._first(body)) is None
                    or self.polls_get_nothing
                    or self.registrations[-1]["status"] != "ready"
                ):
                    await asyncio.sleep(0.001)
            self.leases.remove(lease)
            self.given[lease["id"]] = lease
            expected = [one["files"] for one in body["expected"] if one["version_id"] == lease["version"]["id"]]
            uploads = [{**self._upload(lease["id"], file), **file} for files in expected for file in files]
            return web.json_response({"lease": {**lease, "uploads": uploads}})
        except TimeoutError:
            return web.json_response({"lease": None})
        finally:
            self.polls -= 1

    def _first(self, room: dict[str, Any]) -> dict[str, Any] | None:
        """The first lease that may be given to who asks like this."""
        return next((lease for lease in self.leases if lease.get("domain") not in room.get("without", [])), None)

    async def _heartbeat(self, request: web.Request) -> web.Response:
        body = await self._told(request, "heartbeats")
        lease_id = request.match_info["id"]
        self.heartbeats[lease_id].append(body)
        return web.json_response({"expires_at": "2030-01-01T00:00:00+00:00", "cancel": lease_id in self.cancel})

    async def _uploads(self, request: web.Request) -> web.Response:
        body = await self._told(request, "uploads")
        return web.json_response({"uploads": [self._upload(request.match_info["id"], file) for file in body["files"]]})

    def _upload(self, lease_id: str, file: dict[str, Any]) -> dict[str, Any]:
        key = f"runs/RUN/{lease_id}/{file['ordinal']}-{file['filename']}"
        return {
            "ordinal": file["ordinal"],
            "object_key": key,
            "url": f"{self.url}/v1/storage/{key}?signature=y",
            "method": "PUT",
            "headers": {"Content-Type": file["content_type"]},
        }

    async def _complete(self, request: web.Request) -> web.Response:
        lease_id = request.match_info["id"]
        self.completion_requests[lease_id] += 1
        body = await self._told(request, "completions")
        for output in body["outputs"]:
            assert output["object_key"] is None or output["object_key"] in self.objects
        if body["result"] == "released" and self.offers_again and lease_id in self.given:
            self.leases.appendleft({**self.given.pop(lease_id), "id": str(uuid.uuid4())})
        assert self.completions.setdefault(lease_id, body) == body
        if self.hold_answers is not None:
            await self.hold_answers.wait()
        lease = None if body.get("next") is None else self._first(body["next"])
        if lease is not None:
            self.leases.remove(lease)
            self.given[lease["id"]] = lease
        return web.json_response({"run_id": str(uuid.uuid4()), "status_code": body["result"], "lease": lease})

    async def _put(self, request: web.Request) -> web.Response:
        self.log.append("put")
        assert "Authorization" not in request.headers
        assert request.content_length is not None
        if self.hold_puts is not None:
            await self.hold_puts.wait()
        self._fault("put")
        self.objects[request.match_info["key"]] = await request.read()
        return web.Response(status=200)

    async def _get(self, request: web.Request) -> web.Response:
        self.log.append("get")
        assert "Authorization" not in request.headers
        if self.hold_downloads is not None:
            await self.hold_downloads.wait()
        self._fault("get")
        content = self.files.get(request.match_info["key"])
        if content is None:
            raise problem(404, "NOT_FOUND")
        if request.match_info["key"] in self.endless:
            answer = web.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(b"\0")
                await asyncio.sleep(0.01)
        return web.Response(body=content)


def problem(status: int, code: str, message: str = "A fault to order.") -> web.HTTPException:
    """An answer in the API's error envelope, to be raised."""
    text = orjson.dumps({"code": code, "message": message, "errors": None}).decode()
    kinds: dict[int, type[web.HTTPException]] = {
        each.status_code: each
        for each in vars(web).values()
        if isinstance(each, type) and issubclass(each, web.HTTPError) and each.status_code > 0
    }
    kind = kinds[status]
    if status == 413:
        return web.HTTPRequestEntityTooLarge(1, 2, text=text, content_type="application/json")
    return kind(text=text, content_type="application/json")


PROMPT: dict[str, dict[str, Any]] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "9": {
        "class_type": "RunflowOutputImage",
        "inputs": {"output_id": "image", "value": ["1", 0]},
        "_meta": {"title": "Result"},
    },
}
OUTPUTS = [{"name": "image", "variable_type_code": "image", "comfyui_node_id": "9"}]


def make_lease(**changes: Any) -> dict[str, Any]:
    """A lease as the server sends it; keyword arguments replace `prompt`, `inputs`, `outputs`, `input`, `files`, …"""
    return {
        "id": str(uuid.uuid4()),
        "run_id": str(uuid.uuid4()),
        "attempt_number": 1,
        "expires_at": "2030-01-01T00:00:00+00:00",
        "domain": changes.get("domain", "0198c0de-0000-7000-8000-0000000000aa"),
        "version": {
            "id": changes.get("version_id") or str(uuid.uuid4()),
            "number": 3,
            "fingerprint": changes.get("fingerprint", "f" * 64),
            "prompt": changes.get("prompt", PROMPT),
            "interface": {"inputs": changes.get("inputs", []), "outputs": changes.get("outputs", OUTPUTS)},
            "manifest": {"environment": {}, "custom_nodes": {}, "models": {}},
            "models_key": changes.get("models_key", ""),
        },
        "input": changes.get("input", {}),
        "files": changes.get("files", {}),
        "resources": changes.get("resources", []),
        "models": changes.get("models", []),
        **{name: changes[name] for name in ("tracebacks", "cached") if name in changes},
        "limits": {
            "timeout_seconds": changes.get("timeout_seconds", 60),
            "max_output_bytes": changes.get("max_output_bytes", 1 << 30),
            "inline_bytes": changes.get("inline_bytes", 0),
        },
    }


def image_lease(server: FakeServer, content: bytes) -> dict[str, Any]:
    """A lease with one picture among its inputs."""
    reference = "runflow://assets/0198c0de-0000-7000-8000-000000000001"
    prompt = {**PROMPT, "3": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo"}}}
    return {
        "prompt": prompt,
        "inputs": [{"name": "photo", "variable_type_code": "image", "comfyui_node_id": "3"}],
        "input": {"photo": reference},
        "files": {reference: server.serve("photo.png", content)},
    }
