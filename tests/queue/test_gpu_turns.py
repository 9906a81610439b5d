"""Which GPU classes have a turn for a lane's runs: those that have a worker which could take one now."""

from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.queue.eligibility_queries import LaneVersion
from runflow.queue.gpu_turns import GpuTurns
from runflow.queue.lineup import ANY_GPU, Lane
from runflow.sources.known import ApprovedSources
from runflow.web.services import Services
from runflow.workflows.runtime.known import Installation, Known
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import Worker
from tests.support.sources import COMMIT, decide, deploy, fresh_origin


class Asked:
    """A workflow that only a worker of this class builds for, and what is said of its turn."""

    def __init__(self, services: Services, workflow_id: str, version_id: str, pack: str) -> None:
        self.gpu = f"GPU-{new_id().hex[-8:]}"
        self.known = services.part(Known)
        self.approved = services.part(ApprovedSources)
        self.pack = pack
        self.workflow_id, self.version_id = UUID(workflow_id), UUID(version_id)

    async def has_turn(self, installation: Installation | None = None) -> bool:
        """Tell whether the class has one, of a memory that knows nothing yet."""
        version = await self.known.version(self.version_id)
        await self.approved.look_for({(self.pack, COMMIT)}, now=True)
        self.known.read_at = float("-inf")
        read = await self.known.read_installation()
        await self.known.machines(now=True)
        turns = GpuTurns(self.known, self.approved)
        self.known.installation = installation or read
        await turns.prepare()
        row = LaneVersion(new_id(), self.version_id, self.workflow_id)
        lane = Lane(row.lane_id, version.org_id, ANY_GPU, "f", oldest_at=0.0, waits_since=0.0)
        return self.gpu in turns.of(lane, row, version)


@pytest.fixture
async def asked(services: Services, client: httpx.AsyncClient) -> Asked:
    pack = fresh_origin()
    workflow = await deploy(client, pack, gpu_mode="auto")
    version = await client.get(f"/v1/comfyui-workflows/{workflow['id']}/versions/1")
    return Asked(services, workflow["id"], version.json()["id"], pack)


async def builder(asked: Asked, able: MakeAble) -> Worker:
    return await able(CLASSES - {"Anything"}, gpu=asked.gpu, builds="approved")


async def test_a_class_that_waits_for_an_approval_has_no_turn_until_it_is_given(
    asked: Asked, able: MakeAble, operator: httpx.AsyncClient
) -> None:
    await builder(asked, able)
    assert not await asked.has_turn(), "others need not wait for it"
    await decide(operator, asked.pack)
    assert await asked.has_turn()
    await decide(operator, asked.pack, "revoke")
    assert not await asked.has_turn()


async def test_a_class_whose_builds_failed_for_good_has_no_turn(
    asked: Asked, able: MakeAble, operator: httpx.AsyncClient
) -> None:
    await builder(asked, able)
    await decide(operator, asked.pack)
    assert await asked.has_turn()
    (machine,) = [one for one in await asked.known.machines() if one.worker.gpu_code == asked.gpu]
    known = asked.known.installation
    failed = Installation(
        known.operator,
        known.several,
        known.labels,
        known.gpus,
        known.found,
        {(asked.version_id, machine.worker.id): "No such class."},
    )
    assert not await asked.has_turn(failed)
    elsewhere = {(asked.version_id, new_id()): "No such class."}
    assert await asked.has_turn(Installation(known.operator, known.several, known.labels, known.gpus, {}, elsewhere))
