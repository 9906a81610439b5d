"""Every POST of an API key takes an Idempotency-Key, and what it does commits with its answer or not at all.

Cancellations are called for what has ended: one of something that goes on takes effect at once (docs/api.md).
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from runflow.ids import new_id
from runflow.server import ROUTES
from runflow.web.idempotency import queries
from runflow.web.services import Services
from tests.support import everything as of_everything
from tests.support.everything import BODIES, OF_KEYS, Everything, Route, fresh

POSTS = [route for route in OF_KEYS if route[0] == "POST" and not ROUTES[route].operator_only]
"""Without those that refuse every organization but the operator's (tests/accounts/organizations/test_service.py)."""


@pytest.fixture(scope="module")
async def own(services: Services) -> AsyncIterator[Everything]:
    async with of_everything.make(services) as made:
        yield made


@pytest.mark.parametrize("route", POSTS, ids=" ".join)
async def test_an_answer_that_cannot_be_stored_leaves_nothing_behind(
    own: Everything, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process dies between the work and the commit. A route that commits by itself would show here."""
    reached: list[int] = []

    async def dies(_transaction: object, _name: object, answer: queries.FirstAnswer) -> None:
        reached.append(answer.status_code)
        raise RuntimeError("the process dies here")

    before = await own.rows()
    with monkeypatch.context() as patched:
        patched.setattr(queries, "store", dies)
        async with asyncio.timeout(60):
            answer = await own.call(route, headers={"Idempotency-Key": new_id().hex})
    assert answer.status_code == 500 if reached else answer.status_code == 409, answer.text
    assert await own.rows() == before


@pytest.mark.parametrize("route", POSTS, ids=" ".join)
async def test_a_second_one_gets_the_first_answer(own: Everything, route: Route) -> None:
    header, body = {"Idempotency-Key": new_id().hex}, fresh(BODIES.get(route))
    async with asyncio.timeout(60):
        first, again = [await own.call(route, headers=header, json=body) for _ in range(2)]
    if not first.is_success:
        assert first.status_code == 409, first.text
    elif ROUTES[route].shows_secret:
        assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
    else:
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
