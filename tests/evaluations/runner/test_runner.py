"""The queue of evaluations: lost claims, failed fetches, three attempts, one end, and who is told of it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.billing import grants
from runflow.db.claim_loop import Claimed
from runflow.db.transaction import Transaction
from runflow.evaluations.runner import queries as queue
from runflow.evaluations.runner.attempt import Bench, Judged
from runflow.evaluations.runner.runner import Evaluations, Timing
from runflow.ids import new_id
from runflow.web.services import Services
from tests.evaluations.conftest import ended, submit
from tests.support.application import new_org, open_client
from tests.support.http_server import QuietHandler, serving
from tests.support.waiting import until


@dataclass
class Site:
    """A real HTTP server on loopback: GETs give `answers`, one after the other; POSTs are kept."""

    url: str
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    gets: int = 0
    posts: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status, content = found.answers[min(found.gets, len(found.answers) - 1)]
            found.gets += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            found.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as base:
        found = Site(base)
        yield found


@pytest.fixture
async def http_client(services: Services, client: httpx.AsyncClient) -> Any:
    """The same caller of a server that accepts plain http:// URLs."""
    settings = services.settings.model_copy(update={"allow_http_inputs": True})
    key = client.headers["Authorization"].removeprefix("Bearer ")
    async with open_client(replace(services, settings=settings), key) as opened:
        yield opened


async def post(client: httpx.AsyncClient, url: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/evaluations", json={"generated_image_url": url, "task_type": "x", **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def change(services: Services, evaluation_id: str, assignments: str) -> None:
    async with services.db.system() as transaction:
        statement = f"UPDATE evaluations SET {assignments} WHERE id = %(id)s"
        await transaction.run(statement, {"id": evaluation_id})
    services.hub.publish("evaluation")


async def test_a_fetch_that_failed_is_tried_again(
    services: Services, http_client: httpx.AsyncClient, site: Site, good_png: bytes
) -> None:
    site.answers = [(503, b""), (200, good_png)]
    made = await post(http_client, f"{site.url}/a.png")

    async def waits() -> str | None:
        found = (await http_client.get(f"/v1/evaluations/{made['id']}")).json()
        waiting = found["status_code"] == "pending" and found["attempt_number"] == 1
        return "waits" if waiting else found["completed_at"]

    if await until(waits) == "waits":
        await change(services, made["id"], "due_at = now()")
    found = await ended(http_client, made["id"])
    assert (found["status_code"], found["overall_passed"], found["attempt_number"]) == ("completed", True, 2)


async def test_what_is_not_there_fails_at_once_and_everyone_is_told(http_client: httpx.AsyncClient, site: Site) -> None:
    site.answers = [(404, b"")]
    hook = {"url": f"{site.url}/hook", "event_subscriptions": ["evaluation.failed", "evaluation.completed"]}
    assert (await http_client.post("/v1/webhooks", json=hook)).status_code == 201
    made = await post(http_client, f"{site.url}/a.png", callback_url=f"{site.url}/callback", client_ref="ref-7")
    found = await ended(http_client, made["id"])
    assert (found["status_code"], found["failure_code"], found["cost"]) == ("failed", "IMAGE_FETCH_FAILED", None)
    assert "404" in found["failure_message"] and found["overall_passed"] is None and found["judges"] == []
    await until(lambda: len(site.posts) == 2)
    for body in site.posts:
        assert (body["event"], body["evaluation_id"], body["client_ref"]) == ("evaluation.failed", made["id"], "ref-7")
        assert body["output"]["code"] == "IMAGE_FETCH_FAILED"
    assert site.gets == 1


async def test_a_verdict_is_delivered_once(http_client: httpx.AsyncClient, site: Site, good_png: bytes) -> None:
    made = await submit(http_client, good_png, callback_url=f"{site.url}/callback")
    await ended(http_client, made["id"])
    (body,) = await until(lambda: site.posts)
    assert (body["event"], body["status"], body["output"]["overall_passed"]) == (
        "evaluation.completed",
        "completed",
        True,
    )


async def test_an_image_that_is_too_large_fails_with_the_next_step(http_client: httpx.AsyncClient, site: Site) -> None:
    site.answers = [(200, b"P6 9000 9000 255\n" + b"\0" * 100)]
    found = await ended(http_client, (await post(http_client, f"{site.url}/a.ppm"))["id"])
    assert (found["failure_code"], found["attempt_number"]) == ("IMAGE_TOO_LARGE", 1)
    assert "9000 × 9000" in found["failure_message"] and "Scale it down" in found["failure_message"]


async def test_a_reference_that_is_gone_is_left_out_and_told(
    http_client: httpx.AsyncClient, site: Site, good_png: bytes
) -> None:
    site.answers = [(404, b"")]
    references = [{"url": f"{site.url}/gone.png"}]
    found = await ended(http_client, (await submit(http_client, good_png, reference_images=references))["id"])
    assert found["status_code"] == "completed" and "404" in found["check_summary"]["notes"][0]


async def insert(services: Services, org: Any, **more: Any) -> str:
    """An evaluation of an asset that nobody has, in any state."""
    async with services.db.system() as transaction:
        return await insert_in(transaction, org, **more)


async def insert_in(transaction: Transaction, org: Any, **more: Any) -> str:
    """The same in a transaction of the caller's: until it ends, no engine sees it."""
    made = str(new_id())
    columns = {
        "id": f"'{made}'",
        "org_id": f"'{org}'",
        "task_type": "'x'",
        "generated_image_url": "'https://10.0.0.1/'",
    }
    columns.update(more)
    await transaction.run(f"INSERT INTO evaluations ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
    return made


@dataclass(frozen=True, slots=True)
class State:
    """How far an evaluation has come."""

    status_code: str
    attempt_number: int
    failure_code: str | None
    claim_id: UUID | None


async def state(services: Services, evaluation_id: str) -> State:
    async with services.db.system() as transaction:
        statement = "SELECT status_code, attempt_number, failure_code, claim_id FROM evaluations WHERE id = %(id)s"
        return await transaction.one(statement, {"id": evaluation_id}, row=State)


async def test_a_lapsed_claim_is_taken_over_and_the_third_loss_is_the_last(services: Services) -> None:
    org = await new_org(services)
    running = {"status_code": "'running'", "claim_id": "gen_random_uuid()", "due_at": "now() - interval '1 s'"}
    once = await insert(services, org, **running, attempt_number="1", started_at="now()")
    thrice = await insert(services, org, **running, attempt_number="3", started_at="now()")
    services.hub.publish("evaluation")

    async def taken() -> bool:
        return bool((await state(services, once)).attempt_number >= 2 and (await state(services, thrice)).failure_code)

    await until(taken)
    assert (await state(services, thrice)).failure_code == "EVALUATOR_LOST"


async def test_who_lost_a_claim_changes_nothing(services: Services) -> None:
    org = await new_org(services)
    # Claimed by somebody else until far in the future.
    held = await insert(
        services, org, status_code="'running'", claim_id="gen_random_uuid()", due_at="now() + interval '1 day'"
    )
    stale = queue.Claim(**dict.fromkeys(queue.Claim.__slots__) | {"id": held, "claim_id": new_id()})  # type: ignore[arg-type]
    from runflow.evaluations.limits import EvaluationFailed, FailureCode
    from runflow.evaluations.runner import ending

    async with services.db.system() as transaction:
        failure = EvaluationFailed(FailureCode.INTERNAL, "x", is_final=True)
        assert not (await ending.fail(transaction, stale, failure)).is_ours
        await queue.give_back(transaction, stale, 0.0)
        await queue.renew(transaction, [stale.claim_id], 60)
    assert (await state(services, held)).status_code == "running"


async def test_no_organization_waits_behind_another_s_queue(services: Services) -> None:
    busy, quiet = await new_org(services), await new_org(services)
    async with services.db.system() as transaction:
        for _ in range(20):
            await insert_in(transaction, busy, due_at="now() - interval '1 hour'")
        one = await insert_in(transaction, quiet, due_at="now() - interval '1 minute'")
        assert one in {str(claim.id) for claim in await queue.claim(transaction, 8, 30)}
        transaction.abandoned = True


class Endless(Bench):
    """Never comes to a verdict."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def judge(self, held: queue.Claim) -> Judged:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_stopping_server_gives_its_work_back_uncounted(services: Services) -> None:
    org = await new_org(services)
    waiting = await insert(
        services, org, generated_image_url="'https://127.0.0.1:1/'", due_at="now() + interval '1 day'"
    )
    async with services.db.system() as transaction:
        await transaction.run("UPDATE evaluations SET due_at = now() WHERE id = %(id)s", {"id": waiting})
        claims = [claim for claim in await queue.claim(transaction, 50, 3600) if str(claim.id) == waiting]
    (held,) = claims

    class Given(Evaluations):
        """Has its claims already: the application's own runner would have taken what is due."""

        async def claim(self, places: int) -> Claimed[queue.Claim]:
            given, claims[:] = list(claims), []
            return Claimed(given, more=False)

    bench = Endless()
    task = asyncio.create_task(Given(services, bench, Timing()).loop(1).run())
    await bench.begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = await state(services, waiting)
    assert found.claim_id != held.claim_id
    # The application's own runner may have begun with it.
    assert (found.status_code, found.attempt_number) in (("pending", 0), ("running", 1), ("pending", 1))


async def test_a_priced_verdict_costs_and_a_used_up_budget_stops_the_next(
    services: Services, client: httpx.AsyncClient, good_png: bytes
) -> None:
    settings = services.settings.model_copy(update={"evaluation_price": Decimal("0.25")})
    key = client.headers["Authorization"].removeprefix("Bearer ")
    principal = await services.authenticator.principal(key)
    assert principal is not None
    async with services.db.system() as transaction:
        await transaction.run(
            "INSERT INTO budgets (org_id, credit, low_balance_threshold) VALUES (%(org)s, 0.2, 0.1)",
            {"org": principal.org_id},
        )
    async with open_client(replace(services, settings=settings), key) as priced:
        listed = (await priced.get("/v1/evaluations/job-classes")).json()["items"]
        assert listed[0]["price"] == "0.250000"
        made = await submit(priced, good_png)
        assert made["cost"] is None
        found = await ended(priced, made["id"])
        assert found["cost"] == "0.250000"
        balance = (await priced.get("/v1/billing/balance")).json()
        assert (balance["balance"], balance["low_balance_notified_at"] is None) == ("-0.050000", False)
        refused = await priced.post(
            "/v1/evaluations", json={"generated_image_url": "https://a.example/", "task_type": "x"}
        )
        assert (refused.status_code, refused.json()["code"]) == (402, "INSUFFICIENT_CREDIT")
        async with services.db.system() as transaction:
            granted = await grants.grant(transaction, principal.org_id, monthly=Decimal(1), credit=None)
        assert granted["month_spent"] == Decimal("0.25"), "of the month, evaluations included"
    body = {"generated_image_url": "https://10.0.0.1/", "task_type": "x"}
    assert (await client.post("/v1/evaluations", json=body)).status_code == 202
