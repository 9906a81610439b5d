"""What the plugin in the field sends from the editor's page, in its order (docs/compatibility.md)."""

from urllib.parse import quote

import pytest

from runflow.web.services import Services
from tests.contract.conftest import Page
from tests.support.application import MakeKey
from tests.support.workflow_prompts import plugin_body


@pytest.fixture
def headers(publishing_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {publishing_key}"}


def json_headers(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Content-Type": "application/json"}


async def lookup(page: Page, headers: dict[str, str], slug: str) -> list[dict[str, object]]:
    q = quote(f"slug.eq:'{slug}'", safe="")
    answer = await page.fetch("GET", f"/v1/comfyui-workflows?q={q}&limit=1", headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


async def test_the_first_deploy_looks_up_and_creates_and_the_second_finds_and_patches(
    page: Page, headers: dict[str, str]
) -> None:
    body = plugin_body()
    assert await lookup(page, headers, body["slug"]) == []
    created = await page.fetch("POST", "/v1/comfyui-workflows", json_headers(headers), json=body)
    assert created.status_code == 201, created.text

    found = await lookup(page, headers, body["slug"])
    assert [one["id"] for one in found] == [created.json()["id"]]

    again = {name: value for name, value in body.items() if name != "slug"}
    patched = await page.fetch("PATCH", f"/v1/comfyui-workflows/{found[0]['id']}", json_headers(headers), json=again)
    assert (patched.status_code, patched.json()["slug"]) == (200, body["slug"])


async def test_what_the_plugin_sends_comes_back_as_it_was_sent(page: Page, headers: dict[str, str]) -> None:
    body = plugin_body()
    created = await page.fetch("POST", "/v1/comfyui-workflows", json_headers(headers), json=body)
    record = created.json()
    for name in ("workflow_json", "graph", "environment", "models", "custom_nodes", "resources"):
        assert record[name] == body[name], name


async def test_the_plugin_s_key_cannot_delete_and_a_deleted_workflow_is_not_found(
    page: Page, headers: dict[str, str], publishing_key: str, services: Services, make_key: MakeKey
) -> None:
    body = plugin_body()
    created = await page.fetch("POST", "/v1/comfyui-workflows", json_headers(headers), json=body)
    address = f"/v1/comfyui-workflows/{created.json()['id']}"
    refused = await page.fetch("DELETE", address, headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "PERMISSION_DENIED")

    caller = await services.authenticator.principal(publishing_key)
    assert caller is not None
    deleting = await make_key(scopes=("comfyui-workflows:delete",), org=caller.org_id)
    assert (await page.fetch("DELETE", address, {"Authorization": f"Bearer {deleting}"})).status_code == 204
    assert await lookup(page, headers, body["slug"]) == []
    again = await page.fetch("POST", "/v1/comfyui-workflows", json_headers(headers), json=body)
    assert again.status_code == 201 and again.json()["id"] != created.json()["id"]


async def test_input_files_go_through_the_three_steps_with_the_exact_codes(page: Page, headers: dict[str, str]) -> None:
    content = b"\x89PNG\r\n\x1a\n" + bytes(100)
    session = await page.fetch(
        "POST",
        "/v1/asset-uploads",
        json_headers(headers),
        json={"filename": "constant.bin", "mime_type": "application/octet-stream", "size_bytes": len(content)},
    )
    assert session.status_code == 201, session.text
    upload_url = session.json()["upload_url"]
    # No authorization: the URL is the permission. The type is the declared one.
    stored = await page.http.put(upload_url, content=content, headers={"Content-Type": "application/octet-stream"})
    assert stored.status_code in (200, 201, 204)
    confirmed = await page.fetch(
        "POST", f"/v1/asset-uploads/{session.json()['asset_id']}/confirmations", json_headers(headers), json={}
    )
    assert confirmed.status_code == 201, confirmed.text
    assert confirmed.json()["id"] == session.json()["asset_id"]
    assert (await page.http.get(confirmed.json()["url"])).content == content


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/comfyui-workflows?limit=1"), ("POST", "/v1/comfyui-workflows"), ("GET", "/v1/no-such-route")],
)
async def test_errors_can_be_read_by_the_page(page: Page, method: str, path: str) -> None:
    answer = await page.fetch(
        method, path, {"Authorization": "Bearer rf_live_wrong", "Content-Type": "application/json"}
    )
    found = answer.json()
    assert answer.status_code in (401, 404)
    assert {"code", "message", "errors"} == set(found)
    assert isinstance(found["message"], str)


async def test_a_faulty_body_names_field_and_fault_as_the_plugin_shows_them(
    page: Page, headers: dict[str, str]
) -> None:
    answer = await page.fetch("POST", "/v1/comfyui-workflows", json_headers(headers), json={"slug": "x"})
    first = answer.json()["errors"][0]
    assert answer.status_code == 422
    assert ".".join(str(part) for part in first["loc"]) == "body.name"
    assert isinstance(first["msg"], str)


async def test_the_interface_is_read_from_the_nodes_for_the_plugin_never_sends_one(
    page: Page, headers: dict[str, str]
) -> None:
    created = await page.fetch("POST", "/v1/comfyui-workflows", json_headers(headers), json=plugin_body())
    assert [
        (row["name"], row["variable_type_code"], row["comfyui_field_name"]) for row in created.json()["inputs"]
    ] == [("prompt", "string", "value")]
    assert [row["name"] for row in created.json()["outputs"]] == ["image"]
