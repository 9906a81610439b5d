"""What the whole platform adds to one run, how busy it keeps the engine, how many durable submits it takes.

The floor is measured on the very engine that the platform's worker runs, in turns with the platform.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import aiohttp
import orjson

from benchmarks.floor import Direct, direct_run, kept_full, one_by_one
from benchmarks.idle import cpu_seconds
from benchmarks.installation import Running, installation
from benchmarks.workflows import Prompt, half_k, trivial

WORKFLOWS: dict[str, Callable[[], Prompt]] = {"trivial": trivial, "512 px": half_k}


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Platform:
    """A caller of the server, over keep-alive connections."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def deploy(self, name: str, prompt: Prompt, **more: Any) -> str:
        """Deploy and return `owner/slug`."""
        body = {"name": name, "workflow_json": prompt, **more}
        return str((await self._json("POST", "/v1/comfyui-workflows", body))["path"])

    async def submit(self, path: str, colour: int) -> str:
        """Dispatch one run; it is durable when this returns."""
        answer = await self._json("POST", f"/v1/comfyui-workflows/{path}/runs", {"input": {"colour": colour}})
        return str(answer["id"])

    async def run(self, path: str, colour: int) -> None:
        """Dispatch one run and wait, in a second request, until the caller sees its stored output."""
        run_id = await self.submit(path, colour)
        run = await self._json("GET", f"/v1/runs/{run_id}?wait=30")
        if run["status_code"] != "succeeded":
            raise RuntimeError(run["failure_message"] or run["status_code"])

    async def call(self, path: str, colour: int) -> None:
        """Do the same with one request, whose answer is the ended run."""
        run = await self._json("POST", f"/v1/comfyui-workflows/{path}/runs?wait=60", {"input": {"colour": colour}})
        if run["status_code"] != "succeeded":
            raise RuntimeError(run["failure_message"] or run["status_code"])

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"} if data else {}
        async with self._http.request(method, path, data=data, headers=headers) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(content.decode())
            return orjson.loads(content)


async def measure(running: Running, runs: int, seconds: float) -> None:
    """Measure and print everything."""
    headers = {"Authorization": f"Bearer {running.key}"}
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(running.url, headers=headers, connector=connector) as http:
        platform = Platform(http)
        paths = {name: await platform.deploy(name, make()) for name, make in WORKFLOWS.items()}
        await platform.run(paths["trivial"], 1)
        async with Direct(running.engine_socket()) as direct:
            for name, make in WORKFLOWS.items():
                ways = {
                    "two calls": partial(platform.run, paths[name]),
                    "one call": partial(platform.call, paths[name]),
                }
                await compare(name, direct_run(direct, make()), ways, Meter(running), runs, seconds)
        await submits(platform, seconds)


class Meter:
    """The CPU time that the installation's processes spend on runs: it wavers less than the clock does."""

    def __init__(self, running: Running) -> None:
        self._parts = running.parts()
        self._spent = dict.fromkeys(self._parts, 0.0)
        self._began: dict[str, float] = {}

    def begin(self) -> None:
        """Count from here on."""
        self._began = self._now()

    def end(self) -> None:
        """Count no more, until `begin`."""
        for name, now in self._now().items():
            self._spent[name] += now - self._began[name]

    def take(self, runs: float) -> str:
        """Return the milliseconds per run, and begin anew."""
        shown = ", ".join(f"{name} {seconds / runs * 1000:.1f}" for name, seconds in self._spent.items())
        self._spent = dict.fromkeys(self._parts, 0.0)
        return f"  CPU ms per run: {shown}"

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds(processes) for name, processes in self._parts.items()}


async def compare(
    name: str,
    floor: Callable[[int], Any],
    ways: Mapping[str, Callable[[int], Any]],
    meter: Meter,
    runs: int,
    seconds: float,
) -> None:
    """Alternate floor and platform, so that all meet the same machine; print p50, p95 and runs per second.

    No two parts use the same colours: the engine would find the picture of the first among its results.
    """
    await one_by_one(floor, 10, 1_000_000)
    floors: list[float] = []
    wholes: dict[str, list[float]] = {way: [] for way in ways}
    for part in range(4):
        floors += await one_by_one(floor, runs // 4, 3_000_000 + part * runs)
        for number, (way, whole) in enumerate(ways.items()):
            if part == 0:
                await one_by_one(whole, 10, 2_000_000 + number * 1000)
            wholes[way] += await one_by_one(whole, runs // 4, 4_000_000 + number * 500_000 + part * runs)
    print(f"\n{name}: one run at a time ({len(floors)} runs)")
    for way in ways:
        for label, share in (("p50", 0.5), ("p95", 0.95)):
            low, high = percentile(floors, share), percentile(wholes[way], share)
            print(f"  {way}: {label}  floor {low:7.1f} ms   platform {high:7.1f} ms   + {high - low:6.1f} ms")
    for number, (way, whole) in enumerate(ways.items()):
        meter.begin()
        await one_by_one(whole, runs, 7_000_000 + number * 500_000)
        meter.end()
        print(f"  {way}:{meter.take(runs)}")
    print(f"{name}: eight callers")
    low = await kept_full(floor, 8, seconds, 5_000_000)
    for number, (way, whole) in enumerate(ways.items()):
        meter.begin()
        high = await kept_full(whole, 8, seconds, 6_000_000 + number * 500_000)
        meter.end()
        print(f"  {way}: floor {low:7.1f} runs/s   platform {high:7.1f} runs/s   {high / low:6.0%}")
        print(meter.take(high * seconds))


async def submits(platform: Platform, seconds: float) -> None:
    """Durable submits alone, into a lane that no worker serves."""
    path = await platform.deploy("waiting", trivial(), gpu_mode="explicit", gpu_explicit_models=["H100"])
    print("\ndurable submits alone")
    for callers in (1, 8, 32):
        times: list[float] = []

        async def submit(number: int, kept: list[float] = times) -> None:
            started = time.perf_counter()
            await platform.submit(path, number)
            kept.append((time.perf_counter() - started) * 1000)

        rate = await kept_full(submit, callers, seconds, 1)
        middle, late = statistics.median(times), percentile(times, 0.99)
        print(f"  {callers:3} callers  {rate:7.0f} runs/s   p50 {middle:6.1f} ms   p99 {late:6.1f} ms")


def main() -> None:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs per latency figure")
    parser.add_argument("--seconds", type=float, default=10, help="seconds per throughput figure")
    options = parser.parse_args()
    with installation() as running:
        asyncio.run(measure(running, options.runs, options.seconds))


if __name__ == "__main__":
    main()
