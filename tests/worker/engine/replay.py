"""A protocol replay: speaks ComfyUI's protocol as it was recorded, so that faults come at the moment a test wants.

Only for what a real ComfyUI cannot be made to do on command: the history that is late, a socket that breaks between two
messages, a prompt that is forgotten, the answers of old versions. Everything else is tested on the real one.
"""

import asyncio
from typing import Any

from aiohttp import WSMsgType, web


class Replay:
    """A server whose every move the test makes itself."""

    def __init__(self) -> None:
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.clients: list[str] = []
        self.features: list[dict[str, Any]] = []
        self.submitted: list[dict[str, Any]] = []
        self.history: dict[str, Any] = {}
        self.history_asked: list[str] = []
        self.forgotten: list[str] = []
        self.running: list[str] = []
        self.pending: list[str] = []
        self.interrupted: list[str | None] = []
        self.queue_asked = 0
        self.queue_says: Any = None
        self.answer: tuple[int, Any] | None = None
        self.own_ids: list[str] = []
        self.before_answer: Any = None
        self.refuse_sockets = False
        self.drop_submission: str | None = None
        self.arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/ws", self._ws)
        app.router.add_post("/prompt", self._prompt)
        app.router.add_get("/history/{id}", self._history)
        app.router.add_post("/history", self._forget)
        app.router.add_get("/queue", self._queue)
        app.router.add_post("/queue", self._dequeue)
        app.router.add_post("/interrupt", self._interrupt)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self.drop_sockets()
        assert self._runner is not None
        await self._runner.cleanup()

    async def send(self, kind: str, **data: Any) -> None:
        """Send a message to the newest socket, as ComfyUI does for a prompt's own client."""
        await self.sockets[self.clients[-1]].send_json({"type": kind, "data": data})

    async def send_bytes(self, content: bytes) -> None:
        """Send a binary message, such as a picture, to the newest socket."""
        await self.sockets[self.clients[-1]].send_bytes(content)

    async def drop_sockets(self) -> None:
        for socket in list(self.sockets.values()):
            await socket.close()

    def finish(self, prompt_id: str, outputs: dict[str, Any] | None = None, **status: Any) -> None:
        """Put the entry of a finished prompt into the history."""
        if prompt_id in self.running:
            self.running.remove(prompt_id)
        messages = [["execution_start", {"timestamp": 1000}], ["execution_success", {"timestamp": 1042}]]
        state = {"status_str": "success", "completed": True, "messages": messages, **status}
        self.history[prompt_id] = {"outputs": outputs or {}, "status": state, "prompt": [], "meta": {}}

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_sockets:
            raise web.HTTPServiceUnavailable
        client = request.query["clientId"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[client] = socket
        self.clients.append(client)
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}
        )
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.json()["type"] == "feature_flags":
                self.features.append(message.json()["data"])
            if message.type in (WSMsgType.CLOSE, WSMsgType.ERROR):
                break
        self.sockets.pop(client, None)
        return socket

    async def _prompt(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.submitted.append(body)
        prompt_id = self.own_ids.pop(0) if self.own_ids else body["prompt_id"]
        if self.drop_submission is not None:
            arrives, self.drop_submission = self.drop_submission == "after", None
            if arrives:
                self.running.append(prompt_id)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if self.answer is not None:
            status, answer = self.answer
            if status == 200:
                self.running.append(prompt_id)
                answer = {"prompt_id": prompt_id, **answer}
            return web.json_response(answer, status=status)
        self.running.append(prompt_id)
        if self.before_answer is not None:
            await self.before_answer(prompt_id)
        self.arrived.set()
        return web.json_response({"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    async def _history(self, request: web.Request) -> web.StreamResponse:
        prompt_id = request.match_info["id"]
        self.history_asked.append(prompt_id)
        entry = self.history.get(prompt_id)
        return web.json_response({prompt_id: entry} if entry else {})

    async def _forget(self, request: web.Request) -> web.StreamResponse:
        self.forgotten += (await request.json())["delete"]
        return web.Response()

    async def _queue(self, _: web.Request) -> web.StreamResponse:
        self.queue_asked += 1
        if self.queue_says is not None:
            return web.json_response(self.queue_says)
        running, pending = ([[0, one, {}, {}, []] for one in ids] for ids in (self.running, self.pending))
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _dequeue(self, request: web.Request) -> web.StreamResponse:
        for prompt_id in (await request.json())["delete"]:
            if prompt_id in self.pending:
                self.pending.remove(prompt_id)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        prompt_id = (await request.json()).get("prompt_id")
        self.interrupted.append(prompt_id)
        if prompt_id in self.running:
            self.running.remove(prompt_id)
            data = {"prompt_id": prompt_id, "node_id": "1", "node_type": "Slow", "executed": []}
            status = {"status_str": "error", "completed": False, "messages": [["execution_interrupted", data]]}
            self.history[prompt_id] = {"outputs": {}, "status": status}
        return web.Response()
