"""The README's commands, as they stand there, on a real server with a real ComfyUI."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support.platform_fixtures import Platform
from tests.support.source import ROOT

pytestmark = pytest.mark.e2e


def block(first_words: str) -> str:
    """Return the block of commands of the README that begins like this."""
    blocks = re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    (found,) = [one for one in blocks if one.startswith(first_words)]
    return str(found)


def shell(commands: str, platform: Platform, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run commands in the repository's folder, against the session's server."""
    said = commands.replace(".venv/bin/runflow", f"{sys.executable} -m runflow")
    said = said.replace("http://127.0.0.1:8700", platform.url)
    kept = {**platform._env, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), **environment}
    ended = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", said],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def test_deploy_and_run_from_the_command_line(platform: Platform, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    commands = block(".venv/bin/runflow login").replace("-o pictures", f"-o {pictures}")
    assert str(pictures) in commands
    shell(commands, platform, tmp_path)
    (saved,) = pictures.iterdir()
    with Image.open(saved) as image:
        assert image.size == (512, 512)


def test_deploy_and_run_over_http_after_that(platform: Platform, tmp_path: Path) -> None:
    commands = block("export RUNFLOW_API_KEY") + "echo\n" + block('printf \'{"input"')
    deployed, ran = shell(commands, platform, tmp_path).stdout.splitlines()
    answer, run = json.loads(deployed), json.loads(ran)
    assert (answer.get("path"), answer.get("warnings")) == ("default/dream-by-http", []), answer
    assert run["status_code"] == "succeeded", run
    content = httpx.get(run["output"]["image_urls"][0], timeout=30).content
    assert Image.open(io.BytesIO(content)).size == (256, 256)
