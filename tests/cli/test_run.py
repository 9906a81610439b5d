"""`runflow run` against the application, with a worker that has no engine."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.cli.run import read_inputs
from tests.cli.conftest import Command
from tests.support.deployed import Deployed, Worker
from tests.support.serving_worker import Serving
from tests.support.uploading import picture
from tests.support.waiting import until


async def test_a_run_s_picture_lies_in_the_folder(
    cli: Command, workflow: Deployed, worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(picture())
    made = picture(size=(7, 7))
    words = ("run", workflow.path, "-i", "prompt=@@otter", "-i", "photo=@photo.png", "-i", "steps=7", "-o", "out")
    async with Serving(worker, made) as serving:
        said = await cli(*words, "--client-ref", "t-1")
        again = await cli(*words, "--json")
    assert (said.code, said.out) == (0, "out/a.png\n"), said.err
    assert (tmp_path / "out" / "a.png").read_bytes() == made
    assert "Done in" in said.err and "\x1b" not in said.err, "plain where it is no terminal"
    first, second = serving.inputs
    assert (first["prompt"], first["steps"]) == ("@otter", 7) and first["photo"]
    record = json.loads(again.out)
    assert record["status_code"] == "succeeded" and record["files"] == ["out/a-1.png"]
    assert second["prompt"] == "@otter"


async def test_a_run_that_fails_ends_with_1_and_its_reason(cli: Command, workflow: Deployed, worker: Worker) -> None:
    async with Serving(worker, fails=True):
        said = await cli("run", workflow.path, "-i", "prompt=x", "--json")
    assert said.code == 1 and "It broke. Mend it." in said.words
    run = json.loads(said.out)
    assert run["failure_code"] == "EXECUTION_FAILED" and f"runflow runs tail {run['id']}" in said.words


async def test_whose_picture_cannot_be_saved_is_said(
    cli: Command, workflow: Deployed, worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    async with Serving(worker):
        said = await cli("run", workflow.path, "-i", "prompt=x", "-o", "out")
    assert said.code == 1 and "Done in" in said.words and "Run 0" in said.words and "File exists" in said.words


async def test_a_run_may_have_a_version_and_a_priority(
    cli: Command, workflow: Deployed, client: httpx.AsyncClient
) -> None:
    said = await cli("run", workflow.path, "-i", "prompt=x", "--version", "1", "--priority", "-2", "--detach", "--json")
    run = json.loads(said.out)
    assert (run["target_version"], run["priority"]) == ("1", -2), said.err
    refused = await cli("run", workflow.path, "-i", "prompt=x", "--version", "2", "--detach")
    assert refused.code != 0 and "There is no version 2" in refused.words


async def test_a_run_may_be_left_alone(cli: Command, workflow: Deployed, client: httpx.AsyncClient) -> None:
    said = await cli("run", workflow.path, "-i", "prompt=x", "--detach")
    assert said.code == 0 and f"runflow runs tail {said.out.strip()}" in said.err
    assert (await client.get(f"/v1/runs/{said.out.strip()}")).json()["status_code"] == "queued"
    late = await cli("run", workflow.path, "-i", "prompt=x", "--timeout", "0")
    assert late.code == 124 and "It goes on" in late.words and "Follow the run with: runflow runs tail" in late.words
    assert "No connected worker" in (await cli("run", workflow.path, "-i", "prompt=x", "--timeout", "2")).words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-i", "promt=x"), 'Did you mean "prompt"'),
        (("-i", "prompt"), "NAME=VALUE"),
        (("-i", "=x"), "NAME=VALUE"),
        (("-i", "prompt=1", "-i", "prompt=2"), "given twice"),
        (("-i", "photo=@none.png"), "no file none.png"),
    ],
)
async def test_a_wrong_call_ends_with_2(
    cli: Command, workflow: Deployed, words: tuple[str, ...], sentence: str
) -> None:
    said = await cli("run", workflow.path, *words)
    assert (said.code, said.out) == (2, "") and sentence in said.words


async def test_a_workflow_that_is_none_ends_with_2(cli: Command) -> None:
    for path, sentence in (("portrait", "default/portrait"), ("default/none", "no such workflow")):
        said = await cli("run", path)
        assert said.code == 2 and sentence in said.words


def start(caller: dict[str, str], *words: str, **pipes: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "runflow", *words], env=caller, **pipes)


async def test_ctrl_c_cancels_the_run(
    caller: dict[str, str], workflow: Deployed, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async def of_this_workflow() -> Any:
        return (await client.get(f"/v1/comfyui-workflows/{workflow.path}/runs")).json()["items"]

    with (tmp_path / "err").open("w+b") as err:
        process = start(caller, "run", workflow.path, "-i", "prompt=x", stderr=err, cwd=tmp_path)
        (run,) = await until(of_this_workflow)
        await until(lambda: b"Waiting: " in (tmp_path / "err").read_bytes())
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait) == 130
    assert f"The run {run['id']} is cancelled." in (tmp_path / "err").read_text()
    assert (await of_this_workflow())[0]["status_code"] == "cancelled"


async def test_a_terminal_shows_a_bar(
    caller: dict[str, str], workflow: Deployed, worker: Worker, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in caller.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                got = os.read(ours, 1 << 16)
            except OSError:  # Linux, when the other end is closed
                return
            if not got:
                return
            shown.extend(got)

    process = start(
        variables,
        "run",
        workflow.path,
        "-i",
        "prompt=x",
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    os.close(theirs)
    async with Serving(worker):
        await asyncio.to_thread(read)
        out, _ = await asyncio.to_thread(process.communicate)
    os.close(ours)
    assert (process.returncode, out) == (0, b"a.png\n")
    text = shown.decode()
    assert "━" in text and "\x1b[" in text and "Done" in text


def test_texts_stay_texts_and_files_are_paths(tmp_path: Path) -> None:
    file = tmp_path / "a=b.png"
    file.touch()
    given = ["prompt=a=b", "size=256", "empty=", "mail=@@me", f"photo=@{file}"]
    assert read_inputs(given) == {"prompt": "a=b", "size": "256", "empty": "", "mail": "@me", "photo": file}
