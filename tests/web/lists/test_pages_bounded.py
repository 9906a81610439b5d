"""An order that no index holds is for so many rows, and for more a refusal that names what helps."""

import httpx
import pytest

from runflow.web.lists import pages
from tests.support.deployed import Dispatch

ORDER = {"sort_by": "request_id:desc"}


async def test_what_would_sort_too_many_rows_is_refused_and_narrowed_by_a_filter(
    client: httpx.AsyncClient, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [(await dispatch())["id"] for _ in range(3)]
    assert len((await client.get("/v1/runs", params=ORDER)).json()["items"]) == 3
    monkeypatch.setattr(pages, "MAX_SORTED_ROWS", 0)
    refused = await client.get("/v1/runs", params=ORDER)
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_SORT")
    assert "Sorting by request_id:desc,id:desc would put about" in refused.json()["message"]
    assert "such as created_at >= " in refused.json()["message"]
    large = await client.get("/v1/runs", params={**ORDER, "limit": 500})
    assert large.status_code == 400
    for order, found in ((None, runs[::-1]), ("created_at:desc", runs[::-1]), ("created_at:asc", runs)):
        listed = await client.get("/v1/runs", params={"sort_by": order} if order else None)
        assert [run["id"] for run in listed.json()["items"]] == found


@pytest.mark.parametrize(
    "path", ["/v1/assets", "/v1/batches", "/v1/evaluations", "/v1/audit-events", "/v1/webhooks/any/deliveries"]
)
async def test_every_list_that_grows_is_bounded(
    client: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_SORTED_ROWS", -1)
    monkeypatch.setattr(pages, "_sorted_rows", lambda _plan: iter([7]))
    answer = await client.get(path, params={"sort_by": "id"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_SORT"), answer.text
