"""What the settings approve when a server starts."""

import httpx
import pytest
import structlog

from runflow.settings import Settings
from runflow.sources.known import ApprovedSources
from runflow.sources.startup import approve_settings
from runflow.web.services import Services
from tests.support.sources import COMMIT, decide, deploy, fresh_origin, listed


async def start(services: Services, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"approved_sources": value}))
    await approve_settings(services)


async def test_what_waits_and_what_is_deployed_later_is_approved(
    services: Services, client: httpx.AsyncClient, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, later, other = fresh_origin(), fresh_origin(), fresh_origin()
    await deploy(client, waits, other)
    known = services.part(ApprovedSources)
    await known.look_for([(waits, COMMIT)])
    await start(services, monkeypatch, f"{waits}.git@{COMMIT.upper()},\n {later}@{COMMIT}")
    await deploy(client, later)
    for origin in (waits, later):
        (source,) = await listed(operator, origin)
        assert (source["state_code"], source["decided_by"], bool(source["decided_at"])) == ("approved", None, True)
    assert (await listed(operator, other))[0]["state_code"] == "waiting"
    await known.look_for([(waits, COMMIT)])
    assert known.is_approved(waits, COMMIT)
    (source,) = await listed(operator, waits)
    await start(services, monkeypatch, f"{waits}@{COMMIT}")
    assert await listed(operator, waits) == [source]
    (event,) = (await operator.get("/v1/audit-events", params={"q": f"target_id:{source['id']}"})).json()["items"]
    assert (event["actor_type"], event["details"]["setting"]) == ("operator", "RUNFLOW_APPROVED_SOURCES")


async def test_what_was_revoked_stays_so_and_is_told(
    services: Services, client: httpx.AsyncClient, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = fresh_origin()
    await deploy(client, origin)
    await start(services, monkeypatch, f"{origin}@{COMMIT}")
    await decide(operator, origin, "revoke")
    with structlog.testing.capture_logs() as lines:
        await start(services, monkeypatch, f"{origin}@{COMMIT}")
    assert (await listed(operator, origin))[0]["state_code"] == "revoked"
    assert [line["source"] for line in lines] == [f"{origin}@{COMMIT}"]


def test_one_source_in_several_spellings_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNFLOW_APPROVED_SOURCES", f"https://host/a@{COMMIT} HTTPS://HOST/a.git/@{COMMIT.upper()},")
    assert Settings().approved_source_keys == [("https://host/a", COMMIT)]
    monkeypatch.setenv("RUNFLOW_APPROVED_SOURCES", f"ssh://git@host/a@{COMMIT}")
    assert Settings().approved_source_keys == [("ssh://git@host/a", COMMIT)]
