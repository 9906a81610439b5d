"""How soon a receiver hears that a run has ended, and how many messages leave per second.

The floor is a POST of the same body to the same receiver, by a client that opens a connection for each as deliveries
do. Runs end by cancellation: what follows is the same transaction and the same outbox, and no engine takes the CPU.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from benchmarks.idle import cpu_seconds
from benchmarks.installation import Running, installation
from benchmarks.platform import percentile
from benchmarks.workflows import trivial

WEBHOOKS = 16
"""Subscribed to the end of every run when the rate is measured."""
QUICK = {"RUNFLOW_ALLOWED_NETWORKS": "127.0.0.0/8"}


@dataclass
class Receiver:
    """Answers 200 and notes when what came, on the clock that the database reads too."""

    url: str = ""
    delays: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    awaited: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> web.AppRunner:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/{any:.*}", self._note)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        return runner

    def expect(self, count: int) -> None:
        """Forget what came; `complete` is set after `count` messages."""
        self.delays, self.arrived, self.awaited = [], [], count
        self.complete.clear()

    async def _note(self, request: web.Request) -> web.Response:
        now = time.time()
        body = orjson.loads(await request.read())
        if "completed_at" in body:
            self.delays.append((now - datetime.fromisoformat(body["completed_at"]).timestamp()) * 1000)
            self.arrived.append(now)
            if len(self.arrived) >= self.awaited:
                self.complete.set()
        return web.Response()


@dataclass(frozen=True)
class Caller:
    """A caller of the server."""

    http: aiohttp.ClientSession

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return its answer. Raises RuntimeError for an error."""
        async with self.http.request(method, path, json=body) as answer:
            if answer.status >= 400:
                raise RuntimeError(await answer.text())
            return await answer.json() if answer.status != 204 else None

    async def waiting_runs(self, path: str, count: int, **more: Any) -> list[str]:
        """Dispatch runs that no worker will take."""
        body = {"input": {"colour": 1}, **more}
        made = []
        for start in range(0, count, 16):
            batch = (
                self.json("POST", f"/v1/comfyui-workflows/{path}/runs", body) for _ in range(min(16, count - start))
            )
            made += [run["id"] for run in await asyncio.gather(*batch)]
        return made

    async def end(self, run_id: str) -> None:
        """End a run."""
        await self.json("POST", f"/v1/runs/{run_id}/cancellation")


async def floor(receiver: Receiver, count: int) -> list[float]:
    """Return the milliseconds of direct POSTs, each on a connection of its own."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        async with aiohttp.ClientSession() as http, http.post(receiver.url, data=b'{"a":1}') as answer:
            await answer.read()
        times.append((time.perf_counter() - started) * 1000)
    return times


def show(label: str, values: list[float]) -> None:
    """Print the percentiles of milliseconds."""
    shares = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    print(f"  {label:28}" + "".join(f"  {name} {percentile(values, share):7.1f} ms" for share, name in shares))


async def measure(running: Running, count: int) -> None:
    """Measure and print everything."""
    receiver = Receiver()
    server = await receiver.start()
    headers = {"Authorization": f"Bearer {running.key}"}
    async with aiohttp.ClientSession(running.url, headers=headers) as http:
        caller = Caller(http)
        where = {"gpu_mode": "explicit", "gpu_explicit_models": ["H100"]}
        workflow = {"name": "told", "workflow_json": trivial(), **where}
        path = (await caller.json("POST", "/v1/comfyui-workflows", workflow))["path"]
        await caller.json("POST", "/v1/callback-secrets", {})
        print(f"\ndelivery, from the end of the run to the receiver ({count} runs, signed)")
        show("floor: a direct POST", await floor(receiver, count))
        for callers in (1, 8):
            runs = await caller.waiting_runs(path, count, callback_url=receiver.url)
            receiver.expect(count)
            await in_turns(caller, runs, callers)
            await receiver.complete.wait()
            show(f"callback, {callers} ending at a time", receiver.delays)
        await rate(running, caller, receiver, path, count)
    await server.cleanup()


async def rate(running: Running, caller: Caller, receiver: Receiver, path: str, count: int) -> None:
    """Print how many messages leave per second when more are due than can leave."""
    for _ in range(WEBHOOKS):
        await caller.json("POST", "/v1/webhooks", {"url": receiver.url, "event_subscriptions": ["run.cancelled"]})
    runs = await caller.waiting_runs(path, count)
    receiver.expect(count * WEBHOOKS)
    started = time.time()
    await in_turns(caller, runs, 8)
    ended = time.time()
    before, sent = cpu_seconds([running.process]), len(receiver.arrived)
    await receiver.complete.wait()
    cpu = (cpu_seconds([running.process]) - before) / (len(receiver.arrived) - sent) * 1000
    seconds = receiver.arrived[-1] - receiver.arrived[0]
    print(f"{WEBHOOKS} webhooks: {count} runs ended in {ended - started:.1f} s, their {len(receiver.arrived)} messages "
          f"arrived in {seconds:.1f} s: {len(receiver.arrived) / seconds:.0f} per second, {cpu:.1f} ms of the server's "
          f"CPU each")  # fmt: skip


async def in_turns(caller: Caller, runs: list[str], callers: int) -> None:
    """End runs, `callers` at a time."""
    left = iter(runs)

    async def end_some() -> None:
        for run in left:
            await caller.end(run)

    await asyncio.gather(*(end_some() for _ in range(callers)))


def main() -> None:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs per figure")
    count = parser.parse_args().runs
    with installation(engine=False, environment=QUICK) as running:
        asyncio.run(measure(running, count))


if __name__ == "__main__":
    main()
