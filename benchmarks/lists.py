"""What the first page of a list costs at a thousand and at a million runs, measured in turns on one database."""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
from sqlalchemy import URL

from benchmarks.workflows import trivial
from runflow import logs
from runflow.accounts.keys import service as keys
from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.accounts.organizations import queries as orgs
from runflow.db.database import Database, parse_url
from runflow.db.migrate import migrate
from runflow.embedded_postgres import EmbeddedPostgres
from runflow.ids import new_id
from runflow.master_key import MasterKey
from runflow.server import build_services, create_app
from runflow.settings import Settings
from runflow.web.services import Services

FEW = 1_000

PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "all runs": ("/v1/runs", {}),
    "the last page": ("/v1/runs", {"from_prev": True}),
    "oldest first": ("/v1/runs", {"sort_by": "created_at:asc"}),
    "one status (1 in 100)": ("/v1/runs", {"q": "status_code:failed"}),
    "one client_ref (1 in 100)": ("/v1/runs", {"q": "client_ref:'ticket-7'"}),
    "of one workflow": ("/v1/comfyui-workflows/{path}/runs", {}),
    "longest first": ("/v1/runs", {"sort_by": "duration_ms:desc", "q": "duration_ms >= 0"}),
    "most expensive first": ("/v1/runs", {"sort_by": "cost:desc", "q": "cost > 0"}),
    "no index: by request_id": ("/v1/runs", {"sort_by": "request_id:desc"}),
}
"""What is asked for: a name, the address, the parameters."""

_RUNS = """
    INSERT INTO runs (id, org_id, comfyui_workflow_id, version_id, target_version, status_code, input, client_ref,
                      lane_id, gpu_class, timeout_seconds, created_at, started_at, completed_at, duration_ms, cost)
    SELECT uuidv7(), w.org_id, w.id, w.version_id, w.version,
           CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, json_build_object('colour', n),
           'ticket-' || n % 100, w.id, 'auto', 1800, at, at + interval '1 second', at + interval '3 seconds',
           1000 + n % 60000 * 7 % 60000, 0.000444 * (1 + n * 7 % 1000)
    FROM workflows w, generate_series(1, %(count)s) AS n,
         LATERAL (SELECT timestamptz '2026-01-01' + make_interval(secs => n * 10) AS at) AS moment
    WHERE w.id = %(workflow)s
"""

_OUTPUTS = """
    INSERT INTO run_outputs (id, org_id, run_id, attempt_id, ordinal, output_id, node_id, object_key, filename,
                             content_type, size_bytes)
    SELECT uuidv7(), org_id, id, id, 0, 'picture', '9', 'runs/' || id || '/0-a.png', '0-a.png', 'image/png', 1000
    FROM runs WHERE comfyui_workflow_id = %(workflow)s AND status_code = 'succeeded'
"""


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with a number of runs of one workflow."""

    client: httpx.AsyncClient
    path: str

    async def page(self, address: str, parameters: dict[str, Any]) -> float:
        """Read a page and return the milliseconds it took."""
        started = time.perf_counter()
        answer = await self.client.get(address.format(path=self.path), params=parameters)
        elapsed = time.perf_counter() - started
        # What would sort a million runs is refused: then that is what takes the time.
        is_refused = answer.status_code == 400 and answer.json()["code"] == "INVALID_SORT"
        if not is_refused and (answer.status_code != 200 or len(answer.json()["items"]) < 10):
            raise RuntimeError(f"{address} answered {answer.status_code}: {answer.text[:500]}")
        return elapsed * 1000


@asynccontextmanager
async def server(home: Path, url: URL) -> AsyncIterator[Services]:
    """Run the parts of a server process on this database."""
    key = MasterKey("0123456789abcdef" * 4)
    await migrate(url, key)
    db = Database(url, key)
    async with build_services(Settings(home=home), db, key) as services:
        yield services
    await db.close()


@asynccontextmanager
async def tenant(services: Services, runs: int) -> AsyncIterator[Tenant]:
    """Make an organization with that many runs."""
    org: UUID = new_id()
    async with services.db.system() as connection:
        await orgs.add(connection, org_id=org, slug=f"org-{runs}", name=f"{runs} runs")
    async with services.db.tenant(org) as connection:
        key = (await keys.create(connection, org_id=org, name="bench", scopes=ALL_SCOPES))["key"]
    transport = httpx.ASGITransport(create_app(services))
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as client:
        sent = {"name": "Lists", "workflow_json": trivial()}
        made = (await client.post("/v1/comfyui-workflows", json=sent)).raise_for_status().json()
        async with services.db.system() as transaction:
            for statement in (_RUNS, _OUTPUTS):
                await transaction.change(statement, {"workflow": made["id"], "count": runs})
        yield Tenant(client, made["path"])


async def measure(url: URL, home: Path, many: int, repeats: int) -> None:
    """Fill two organizations and read the same pages of both, one after the other."""
    async with server(home, url) as services, tenant(services, FEW) as few, tenant(services, many) as lots:
        with psycopg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
        ) as owner:
            owner.execute("VACUUM ANALYZE")
        print(f"first page of 50, milliseconds, p50 of {repeats}: {FEW:,} runs against {many:,}")
        for name, (address, parameters) in PAGES.items():
            times: dict[str, list[float]] = {"few": [], "lots": []}
            for turn in range(repeats + 5):
                small, large = await few.page(address, parameters), await lots.page(address, parameters)
                if turn >= 5:
                    times["few"].append(small)
                    times["lots"].append(large)
            small, large = statistics.median(times["few"]), statistics.median(times["lots"])
            print(f"  {name:26} {small:8.2f} {large:9.2f}   ratio {large / small:6.2f}")


def main() -> None:
    """Fill a database of its own and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    logs.configure(level="warning")
    home = Path(tempfile.mkdtemp(prefix="runflow-bench-"))
    home.chmod(0o755)
    postgres = EmbeddedPostgres(home)
    try:
        url = parse_url(postgres.start().url())
        asyncio.run(measure(url, home, options.runs, options.repeats))
    finally:
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
