"""The stored key inside a real ComfyUI, and a page of another site that gave it a name of its own (DNS rebinding)."""

from collections.abc import Iterator

import httpx
import pytest

pytestmark = pytest.mark.e2e

KEY = "rf_live_" + "k" * 36 + "4321"
HOME = "http://127.0.0.1:8700"
EVIL = {"Host": "evil.example:8188", "Origin": "http://evil.example:8188", "Sec-Fetch-Site": "same-origin"}
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
AFTERMATH = ("prebuild", "approval", "cancellation")
BODY = {"endpoint_name": "mine", "prompt": PROMPT, "graph": {"nodes": [], "links": []}}


@pytest.fixture
def person(comfyui_url: str) -> Iterator[httpx.Client]:
    """Requests of a person at this machine who saved a key for a server."""
    with httpx.Client(base_url=comfyui_url, timeout=30) as client:
        client.post("/settings/Runflow.ApiUrl", json=HOME).raise_for_status()
        client.put("/runflow/connection/key", json={"api_key": KEY}).raise_for_status()
        yield client
        client.delete("/runflow/connection/key").raise_for_status()
        client.post("/settings/Runflow.ApiUrl", json="").raise_for_status()


def test_a_page_under_a_name_of_its_own_gets_no_deployment_and_no_key(person: httpx.Client) -> None:
    with httpx.Client(base_url=person.base_url, timeout=30, headers=EVIL) as page:
        for host in ("", "http://evil.example"):
            assert page.post("/runflow/deploy/jobs", json={**BODY, "host": host}).status_code == 403
        ready = person.post("/runflow/deploy/jobs", json=BODY).json()["id"]
        after = [("GET", "/aftermath")] + [("POST", f"/aftermath/{each}") for each in AFTERMATH]
        for method, path in (("GET", ""), ("POST", "/confirmation"), ("POST", "/models"), ("DELETE", ""), *after):
            answer = page.request(method, f"/runflow/deploy/jobs/{ready}{path}", json={"origin": HOME})
            assert answer.status_code == 403, answer.text
        # ComfyUI's own settings are open to such a page.
        for path, body in (("", {"Runflow.ApiKey": "rf_live_evil"}), ("/Runflow.ApiKey", "rf_live_evil")):
            page.post(f"/settings{path}", json=body)
        page.post("/api/settings/Runflow.ApiKey", json="")
        page.post("/settings/Runflow.ApiUrl", json="http://evil.example")
        assert page.get("/runflow/connection").status_code == 403
        assert page.post("/runflow/connection/check", json={"api_url": HOME}).status_code == 403
    assert "Runflow.ApiKey" not in person.get("/settings").json()
    kept = person.get("/runflow/connection").json()
    assert (kept["key_hint"], kept["key_origin"]) == ("4321", HOME)

    # Nothing is published, so nothing becomes of it.
    answer = person.get(f"/runflow/deploy/jobs/{ready}/aftermath")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")

    # The person presses Deploy next: the address is the page's by now, and the key is not for it.
    answer = person.post("/runflow/deploy/jobs", json=BODY)
    assert answer.status_code == 400
    assert f"your saved API key is for {HOME}, and goes to no other server" in answer.json()["message"]


def test_a_key_is_for_the_server_that_the_person_saw(person: httpx.Client) -> None:
    person.put("/runflow/connection/key", json={"api_key": KEY, "api_url": "https://H.example/v1"}).raise_for_status()
    assert person.get("/runflow/connection").json()["key_origin"] == "https://h.example"
    answer = person.put("/runflow/connection/key", json={"api_key": KEY, "api_url": "nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (400, "UNCONFIGURED")
