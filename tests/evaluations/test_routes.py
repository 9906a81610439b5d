"""Submitting, reading, listing and rating evaluations over HTTP."""

from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from tests.evaluations.conftest import ended, submit
from tests.support.picture_corpus import data_uri, good, png

IMAGE = "https://images.example/a.png"


async def test_a_submitted_image_gets_a_verdict(client: httpx.AsyncClient, good_png: bytes) -> None:
    made = await submit(client, good_png, input_attributes={"width": 384, "height": 384}, client_ref="ref-1")
    assert (made["status_code"], made["cost"], made["overall_passed"]) == ("pending", None, None)
    found = await ended(client, made["id"])
    assert (found["status_code"], found["overall_passed"], found["failure_message"]) == ("completed", True, None)
    assert found["weighted_pass_rate"] == 1.0 and found["score"] > 0.8
    assert (found["cost"], found["primary_action_code"], found["client_ref"]) == ("0.000000", "accept", "ref-1")
    assert found["action"]["code"] == "accept" and found["gate_failures"] == [] and found["run"] is None
    assert {judge["name"] for judge in found["judges"]} == {
        *("broken_output", "requested_size", "blur", "exposure", "noise")
    }
    assert found["analysis_modules_executed"] == 5 == found["check_summary"]["passed"]
    assert found["top_strengths"] and found["top_issues"] == []
    assert (await httpx_get(client, found["generated_image_url"])).content == good_png


async def httpx_get(client: httpx.AsyncClient, url: str) -> httpx.Response:
    answer = await client.get(url)
    assert answer.status_code == 200
    return answer


async def test_a_gate_fails_the_image_and_says_what_to_do(client: httpx.AsyncClient, black_png: bytes) -> None:
    found = await ended(client, (await submit(client, black_png))["id"])
    assert (found["overall_passed"], found["weighted_pass_rate"], found["score"]) == (False, 0.0, 0.0)
    assert found["primary_action_code"] == "regenerate"
    (gate,) = found["gate_failures"]
    assert gate["detected_issues"][0]["subcategory"] == "black"
    assert "NaN" in found["top_issues"][0]


async def test_bytes_that_are_no_image_are_a_verdict_not_an_error(client: httpx.AsyncClient) -> None:
    found = await ended(client, (await submit(client, b"no image", generated_image_url=await upload(client)))["id"])
    assert (found["status_code"], found["overall_passed"]) == ("completed", False)
    assert found["gate_failures"][0]["detected_issues"][0]["subcategory"] == "unreadable"


async def upload(client: httpx.AsyncClient, content: bytes = b"not a picture") -> str:
    declared = {"filename": "a.bin", "mime_type": "application/octet-stream", "size_bytes": len(content)}
    session = (await client.post("/v1/asset-uploads", json=declared)).json()
    sent = await client.put(
        session["upload_url"], content=content, headers={"Content-Type": "application/octet-stream"}
    )
    assert sent.status_code == 200, sent.text
    confirmed = await client.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations", json={})
    assert confirmed.status_code == 201, confirmed.text
    return f"runflow://assets/{session['asset_id']}"


async def test_a_reference_that_came_back_unchanged_is_found(client: httpx.AsyncClient, good_png: bytes) -> None:
    references = [{"url": data_uri(good_png), "kind": "input"}]
    made = await submit(client, good_png, task_type="style-transfer", reference_images=references)
    assert made["reference_images"][0]["url"].startswith("http://testserver/v1/storage/")
    found = await ended(client, made["id"])
    assert found["overall_passed"] is False and found["primary_action_code"] == "review"
    assert [judge["name"] for judge in found["judges"] if judge["passed"] is False] == ["near_duplicate"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"generated_image_url": "ftp://a/b.png"}, "generated_image_url"),
        ({"generated_image_url": "http://images.example/a.png"}, "generated_image_url"),
        ({"generated_image_url": "data:image/png;base64,!!"}, "generated_image_url"),
        ({"generated_image_url": f"runflow://assets/{new_id()}"}, "generated_image_url"),
        ({"reference_images": [{"url": f"runflow://assets/{new_id()}"}]}, "reference_images"),
        ({"reference_images": [{"url": IMAGE}] * 5}, "reference_images"),
        ({"run_id": str(new_id())}, "run_id"),
        ({"job_class": "gold"}, "job_class"),
        ({"task_type": ""}, "task_type"),
        ({"task_type": "a\0b"}, "task_type"),
        ({"callback_url": "mailto:me"}, "callback_url"),
        ({"input_attributes": {"a": "b" * 70_000}}, "input_attributes"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_bad_submission_is_refused_by_the_name_of_the_field(
    client: httpx.AsyncClient, change: dict[str, Any], where: str
) -> None:
    body = {"generated_image_url": IMAGE, "task_type": "headshot", **change}
    answer = await client.post("/v1/evaluations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR"), answer.text
    assert answer.json()["errors"][0]["loc"][:2] == ["body", where]


async def test_an_address_that_cannot_be_reached_ends_with_the_reason(client: httpx.AsyncClient) -> None:
    body = {"generated_image_url": "https://10.1.2.3/a.png", "task_type": "headshot"}
    made = (await client.post("/v1/evaluations", json=body)).json()
    assert made["generated_image_url"] == "https://10.1.2.3/a.png"
    listed = (await client.get("/v1/evaluations", params={"q": "status_code.in:(pending, running)"})).json()["items"]
    assert [item["id"] for item in listed] == [made["id"]]


async def test_feedback_is_set_changed_and_taken_back(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/evaluations", json={"generated_image_url": IMAGE, "task_type": "x"})).json()
    path = f"/v1/evaluations/{made['id']}/feedback"
    liked = (await client.patch(path, json={"is_positive": True, "reason": "just right"})).json()
    assert (liked["feedback_is_positive"], liked["feedback_reason"]) == (True, "just right")
    cleared = (await client.patch(path, json={"is_positive": None, "reason": "never mind"})).json()
    assert (cleared["feedback_is_positive"], cleared["feedback_reason"]) == (None, None)
    assert (await client.patch(path, json={"is_positive": True, "reason": "x" * 2001})).status_code == 422
    assert (await client.patch(path, json={"reason": "x"})).status_code == 422


async def test_another_organization_sees_and_changes_nothing(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, good_png: bytes
) -> None:
    made = await submit(client, good_png)
    for answer in (
        await other_client.get(f"/v1/evaluations/{made['id']}"),
        await other_client.patch(f"/v1/evaluations/{made['id']}/feedback", json={"is_positive": True}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "EVALUATION_NOT_FOUND")
    assert (await other_client.get("/v1/evaluations")).json()["items"] == []
    assert (await client.get(f"/v1/evaluations/{made['id']}")).json()["feedback_is_positive"] is None


async def test_lists_filter_sort_project_and_embed(
    client: httpx.AsyncClient, good_png: bytes, black_png: bytes
) -> None:
    good = await ended(client, (await submit(client, good_png))["id"])
    black = await ended(client, (await submit(client, black_png))["id"])
    query = {"q": "overall_passed:false", "fields": "id,score", "embed": "gate_failures"}
    (item,) = (await client.get("/v1/evaluations", params=query)).json()["items"]
    assert set(item) == {"id", "score", "gate_failures"} and item["id"] == black["id"]
    assert item["gate_failures"][0]["name"] == "broken_output"
    sorted_by_score = (await client.get("/v1/evaluations?sort_by=score:desc&limit=1")).json()
    assert sorted_by_score["items"][0]["id"] == good["id"] and sorted_by_score["next"]
    assert (await client.get("/v1/evaluations?embed=nothing")).json()["code"] == "INVALID_FIELD"


async def test_statuses_and_job_classes(client: httpx.AsyncClient) -> None:
    statuses = (await client.get("/v1/evaluations/statuses")).json()["items"]
    assert [status["code"] for status in statuses] == ["pending", "running", "completed", "failed"]
    (standard,) = (await client.get("/v1/evaluations/job-classes")).json()["items"]
    assert (standard["code"], standard["price"]) == ("standard", "0.000000")


async def test_an_unknown_run_is_refused_before_anything_is_stored(client: httpx.AsyncClient) -> None:
    body = {"generated_image_url": data_uri(png(good("portrait", 1, 64, 64))), "task_type": "headshot"}
    answer = await client.post("/v1/evaluations", json={**body, "run_id": str(new_id())})
    assert answer.status_code == 422 and answer.json()["errors"][0]["loc"] == ["body", "run_id"]
    assert (await client.get("/v1/assets")).json()["items"] == []
