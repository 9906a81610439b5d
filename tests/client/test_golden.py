"""Examples and golden runs by the SDK."""

import json
from pathlib import Path

from PIL import Image

from tests.client.conftest import Both
from tests.support.deployed import PROMPT, Deployed


async def test_a_version_is_tested_with_what_was_kept(api: Both, workflow: Deployed, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(photo)
    kept = await api.keep_example(workflow.path, "otter", {"prompt": "an otter", "photo": photo}, evaluate=True)
    assert kept["input"]["photo"].startswith("runflow://assets/") and kept["evaluate"] is True
    run = await api.submit(workflow.path, {"prompt": "two otters"})
    assert (await api.keep_example(workflow.id, "second", run=run))["input"]["prompt"] == "two otters"
    assert [one["name"] for one in await api.examples(workflow.path)] == ["otter", "second"]
    await api.delete_example(workflow.path, "otter")
    assert [one["name"] for one in await api.examples({"id": workflow.id}, limit=1)] == ["second"]
    prompt = json.loads(json.dumps(PROMPT))
    prompt["4"]["inputs"]["strength"] = 2
    deployed = await api.deploy(workflow.path.partition("/")[2], prompt, golden=True)
    assert (deployed.version, deployed["golden_run"]["version"]) == ("1", "2")
    for named in (deployed["golden_run"], deployed["golden_run"]["id"]):
        found = await api.golden_run(deployed, named)
        assert [one["name"] for one in found["examples"]] == ["second"]
