"""What reading a run costs, beside the cheapest request that the same server answers."""

import argparse
import asyncio
import statistics
import time

import httpx

from benchmarks.installation import Running, installation
from benchmarks.workflows import trivial


def main() -> None:
    """Print p50 and p99 of `GET /v1/runs/{id}` with 1, 8 and 32 callers, and the floor `GET /v1/health`."""
    parser = argparse.ArgumentParser(prog="scripts/bench reads", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="requests per measurement")
    count = parser.parse_args().requests
    with installation(engine=False) as running:
        asyncio.run(_measure(running, count))


async def _measure(running: Running, count: int) -> None:
    headers = {"Authorization": f"Bearer {running.key}"}
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=running.url, headers=headers, limits=limits, timeout=30) as client:
        body = {"name": "Reads", "workflow_json": trivial()}
        path = (await client.post("/v1/comfyui-workflows", json=body)).raise_for_status().json()["path"]
        sent = {"input": {"colour": 1}}
        run = (await client.post(f"/v1/comfyui-workflows/{path}/runs", json=sent)).raise_for_status().json()["id"]
        print(f"\nreading a queued run ({count} requests each; floor: GET /v1/health)")
        for callers in (1, 8, 32):
            floor = await _times(client, "/v1/health", callers, count)
            read = await _times(client, f"/v1/runs/{run}", callers, count)
            print(
                f"  {callers:3} callers   floor p50 {floor[0]:6.1f} ms  p99 {floor[1]:6.1f} ms   "
                f"run p50 {read[0]:6.1f} ms  p99 {read[1]:6.1f} ms   x {read[0] / floor[0]:.1f}   {read[2]:6.0f} per s"
            )


async def _times(client: httpx.AsyncClient, address: str, callers: int, count: int) -> tuple[float, float, float]:
    """Return p50 and p99 in milliseconds, and requests per second."""
    taken: list[float] = []

    async def call() -> None:
        while len(taken) < count:
            started = time.perf_counter()
            (await client.get(address)).raise_for_status()
            taken.append((time.perf_counter() - started) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    elapsed = time.perf_counter() - began
    marks = statistics.quantiles(taken, n=100)
    return marks[49], marks[98], len(taken) / elapsed
