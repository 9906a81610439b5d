"""A worker's name belongs to the token that registered it: no other machine can end its leases by taking it."""

from runflow.accounts.keys import queries, service
from runflow.ids import new_id, token_hash
from runflow.web.services import Services
from tests.support.application import open_client


async def test_a_name_belongs_to_its_token_until_that_is_revoked(services: Services) -> None:
    async with services.db.system() as transaction:
        first_id, first = await service.create_worker_token(transaction, "first")
        _, second = await service.create_worker_token(transaction, "second")
        assert await queries.worker_token(transaction, token_hash(first)) == first_id
    name = f"worker-{new_id().hex[-8:]}"

    def life() -> dict[str, object]:
        gpu = {"code": "CPU", "name": None, "memory_gb": 0}
        return {"protocol_version": 1, "name": name, "instance": str(new_id()), "status": "ready", "gpu": gpu}

    path = "/v1/worker/registrations"
    async with open_client(services, first) as owner, open_client(services, second) as other:
        registered = await owner.post(path, json=life())
        assert registered.status_code == 201, registered.text
        again = await owner.post(path, json=life())
        assert again.json()["worker_id"] == registered.json()["worker_id"]
        refused = await other.post(path, json=life())
        assert refused.status_code == 409
        assert f"runflow keys revoke-worker {first_id}" in refused.json()["message"]
        async with services.db.system() as transaction:
            await queries.revoke_worker_token(transaction, first_id)
            await queries.announce_change(transaction)
        taken = await other.post(path, json=life())
        assert taken.status_code == 201 and taken.json()["worker_id"] == registered.json()["worker_id"]
