"""An owned engine, for real: boot, runs, refusals, failures, cancellation, crashes, and nothing left behind."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
from PIL import Image

from runflow.protocol.events import NodeState
from runflow.protocol.failures import FailureCode
from runflow.worker.engine.base import Ability, EngineCrashed, EngineError, EngineStartFailed, FileMissing, OutputRef
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.execution import EngineEvent, EventKind, Outcome
from runflow.worker.engine.owned import OwnedEngine
from tests.support.comfyui_fixtures import OwnEngine
from tests.support.waiting import until
from tests.worker.engine.prompts import Prompt, long, new_id, node, picture, text, twins, work

pytestmark = pytest.mark.e2e

MINUTES = 300
"""Steps of a prompt that no test waits for to the end."""


async def are_queued(engine: OwnedEngine, *prompt_ids: str) -> bool:
    """Return whether prompts wait inside ComfyUI behind one that runs."""
    assert engine._client is not None
    return (await engine._client.queue()).pending >= {*prompt_ids}


def processes_of(base: Path) -> list[int]:
    """The processes that have a base folder on their command line, zombies aside."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(base) in (process.info["cmdline"] or []):
            found.append(process.info["pid"])
    return found


async def test_it_says_what_it_is(comfyui_engine: OwnedEngine) -> None:
    description = await comfyui_engine.describe()
    assert description.version.count(".") == 2
    assert description.plugin
    assert "SaveImage" in description.node_types
    assert {Ability.LOCAL_FILES, Ability.OWN_FOLDERS, Ability.KILL, Ability.CACHE_OFF} <= description.abilities
    assert description.memory_bytes > 0
    assert any("user" in line for line in description.isolation)


async def test_a_text_comes_back(comfyui_engine: OwnedEngine) -> None:
    execution = await comfyui_engine.execute(text("a sea otter"), new_id())
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.outputs["2"]["text"] == ["a sea otter"]


async def test_a_512_pixel_workflow_with_timings_and_events(comfyui_engine: OwnedEngine, tmp_path: Path) -> None:
    events: list[EngineEvent] = []
    execution = await comfyui_engine.execute(work("runs/work"), new_id(), events.append)
    assert execution.outcome is Outcome.SUCCEEDED
    (file,) = execution.outputs["5"]["images"]
    reference = OutputRef(file["filename"], file["subfolder"], file["type"])
    path = comfyui_engine.base_dir / "output" / file["subfolder"] / file["filename"]
    with await comfyui_engine.open_output(reference, tmp_path / "unused") as opened:
        assert opened.read(opened.size_bytes, 0) == path.read_bytes()
    with Image.open(path) as image:
        assert image.size == (768, 768)
        assert image.getpixel((0, 0)) == (191, 63, 63)
        assert not image.info, "stock nodes must not write the workflow into the file"
    assert [timing.node_id for timing in execution.nodes] == ["1", "2", "3", "4", "5"]
    assert all(timing.state is NodeState.SUCCEEDED and (timing.duration_ms or 0) >= 0 for timing in execution.nodes)
    assert events[0].kind is EventKind.STARTED
    assert [event.nodes_done for event in events if event.kind is EventKind.NODE_FINISHED] == [1, 2, 3, 4, 5]
    assert 0 < execution.execute_ms < 60_000
    await comfyui_engine.clean("runs/work")
    assert not path.parent.exists()


@pytest.mark.parametrize("made", [text("an otter"), work("told"), twins("an otter")], ids=["text", "files", "twins"])
async def test_what_it_tells_is_what_its_history_says(comfyui_engine: OwnedEngine, made: Prompt) -> None:
    prompt_id = new_id()
    execution = await comfyui_engine.execute(made, prompt_id)
    client = comfyui_engine._client
    assert client is not None
    # It tells of its success before it writes its history.
    entry = await until(partial(client.history, prompt_id))
    assert entry is not None
    told = {node_id: output for node_id, output in execution.outputs.items() if entry["outputs"][node_id]}
    assert told == {node_id: output for node_id, output in entry["outputs"].items() if output}
    times = {kind: data["timestamp"] for kind, data in entry["status"]["messages"] if "timestamp" in data}
    assert execution.execute_ms == times["execution_success"] - times["execution_start"]


async def test_an_identical_prompt_is_executed_again(comfyui_engine: OwnedEngine) -> None:
    names = []
    for _ in range(2):
        execution = await comfyui_engine.execute(picture("runs/again"), new_id())
        names += [file["filename"] for file in execution.outputs["2"]["images"]]
    assert len(set(names)) == 2


async def test_an_input_is_placed_in_the_folder_of_its_run(comfyui_engine: OwnedEngine, tmp_path: Path) -> None:
    names = []
    for run, color in (("runs/one", "red"), ("runs/two", "blue")):
        Image.new("RGB", (8, 8), color).save(tmp_path / "photo.png")
        names.append(await comfyui_engine.place_input(run, "photo.png", tmp_path / "photo.png"))
    assert names == ["runs/one/photo.png", "runs/two/photo.png"]
    prompt = {
        "1": node("LoadImage", image=names[0]),
        "2": node("SaveImage", images=["1", 0], filename_prefix="runs/one/out"),
    }
    execution = await comfyui_engine.execute(prompt, new_id())
    (file,) = execution.outputs["2"]["images"]
    reference = OutputRef(file["filename"], file["subfolder"])
    with await comfyui_engine.open_output(reference, tmp_path / "unused") as opened, opened.reader() as reader:
        image = Image.open(reader)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def computed(prefix: str, color: int, steps: int = 1) -> Prompt:
    """A picture whose prefix comes through a link, so that binding cannot put it below the run's folder."""
    return {
        **{key: value for key, value in long("unused", steps).items() if key != "999"},
        "p": node("PrimitiveString", value=prefix),
        "i": node("EmptyImage", width=8, height=8, batch_size=1, color=color),
        "s": node("SaveImage", images=["i", 0], filename_prefix=["p", 0]),
        "v": node("PreviewImage", images=[str(steps), 0]),
    }


def written(engine: OwnedEngine) -> set[Path]:
    """What lies in the folders that runs write to."""
    folders = (engine.base_dir / kind for kind in ("output", "temp", "input"))
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("prefix", ["foo", "sub/deep/foo"])
async def test_a_computed_prefix_is_delivered_to_its_own_run_and_leaves_nothing(
    comfyui_engine: OwnedEngine, tmp_path: Path, prefix: str
) -> None:
    engine = comfyui_engine
    await engine.begin(
        "runs/first"
    )  # what tests before this one left beside the folders of runs counts as the engine's
    before = written(engine)
    await engine.clean("runs/first")
    colors = {"runs/red": 0xFF0000, "runs/blue": 0x0000FF, "runs/green": 0x00FF00}
    for run in colors:
        await engine.begin(run)
    executions = await asyncio.gather(*(engine.execute(computed(prefix, color), new_id()) for color in colors.values()))

    async def pixel(number: int) -> object:
        (file,) = executions[number].outputs["s"]["images"]
        reference = OutputRef(file["filename"], file["subfolder"], file["type"])
        with await engine.open_output(reference, tmp_path / "unused") as opened, opened.reader() as reader:
            return Image.open(reader).getpixel((0, 0))

    assert await pixel(0) == (255, 0, 0)
    await engine.clean("runs/red")
    assert [await pixel(1), await pixel(2)] == [(0, 0, 255), (0, 255, 0)]
    await engine.clean("runs/blue")
    assert await pixel(2) == (0, 255, 0)
    await engine.clean("runs/green")
    assert written(engine) <= before
    assert (engine.base_dir / "user/comfyui.db").exists()
    assert (await engine.execute(computed(prefix, 0), new_id())).outcome is Outcome.SUCCEEDED


async def test_no_path_leaves_the_engines_folders(comfyui_engine: OwnedEngine, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for run, name in (("../up", "x"), ("runs/a", "../../x"), ("/etc", "x"), ("runs/a", "C:\\x")):
        with pytest.raises(EngineError, match="cannot be used"):
            await comfyui_engine.place_input(run, name, tmp_path / "x")
    with pytest.raises(EngineError):
        await comfyui_engine.open_output(OutputRef("passwd", "../../../../etc"), tmp_path / "unused")
    with pytest.raises(FileMissing):
        await comfyui_engine.open_output(OutputRef("nope.png", "runs/a"), tmp_path / "unused")


REFUSED: dict[str, tuple[Prompt, FailureCode, str | None, str]] = {
    "a missing class": (
        {"1": node("NoSuchNode", "My node"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")},
        FailureCode.NODE_TYPE_MISSING,
        "1",
        'node 1 "My node" (NoSuchNode)',
    ),
    "a missing picture": (
        {"1": node("LoadImage", image="nope.png"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")},
        FailureCode.INPUT_VALIDATION_FAILED,
        "1",
        "nope.png",
    ),
    "a missing model": (
        {
            "1": node("UpscaleModelLoader", model_name="4x.pth"),
            "2": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
            "3": node("ImageUpscaleWithModel", upscale_model=["1", 0], image=["2", 0]),
            "4": node("PreviewImage", images=["3", 0]),
        },
        FailureCode.MODEL_MISSING,
        "1",
        "4x.pth",
    ),
    "a value out of range": (
        {**picture("x"), "1": node("EmptyImage", width=0, height=8, batch_size=1, color=0)},
        FailureCode.WORKFLOW_INVALID,
        "1",
        "smaller than min",
    ),
    "no output node": (
        {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=0)},
        FailureCode.WORKFLOW_INVALID,
        None,
        "no output node",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_the_engine_refuses_is_explained(comfyui_engine: OwnedEngine, what: str) -> None:
    prompt, code, node_id, words = REFUSED[what]
    execution = await comfyui_engine.execute(prompt, new_id())
    assert execution.rejected
    assert execution.error is not None
    assert (execution.error.code, execution.error.node_id) == (code, node_id)
    assert words in execution.error.message
    assert execution.error.next_step


async def test_a_partly_valid_prompt_does_not_run_in_part(comfyui_engine: OwnedEngine) -> None:
    prompt = {**long("runs/partial"), "bad": node("SaveImage", images=["nowhere", 0], filename_prefix="x")}
    execution = await comfyui_engine.execute(prompt, new_id())
    assert execution.rejected
    assert execution.error is not None
    assert execution.error.node_id == "bad"
    async with asyncio.timeout(60):
        after = await comfyui_engine.execute(text("next"), new_id())
    assert after.outcome is Outcome.SUCCEEDED
    assert not (comfyui_engine.base_dir / "output/runs/partial").exists()


async def test_a_picture_that_is_none_is_the_callers_fault(comfyui_engine: OwnedEngine, tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_bytes(b"this is no picture " * 50)
    name = await comfyui_engine.place_input("runs/fake", "fake.png", tmp_path / "fake.png")
    prompt = {"1": node("LoadImage", image=name), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    execution = await comfyui_engine.execute(prompt, new_id())
    assert execution.error is not None
    assert execution.error.code is FailureCode.INPUT_VALIDATION_FAILED
    assert str(comfyui_engine.base_dir) not in str(execution.error)


async def test_a_node_that_raises_is_named_without_paths(comfyui_engine: OwnedEngine) -> None:
    prompt = picture("../../outside")
    prompt["2"]["_meta"] = {"title": "My save"}
    execution = await comfyui_engine.execute(prompt, new_id())
    error = execution.error
    assert execution.outcome is Outcome.FAILED
    assert error is not None
    assert not execution.rejected
    assert (error.code, error.node_id, error.node_type) == (FailureCode.EXECUTION_FAILED, "2", "SaveImage")
    assert error.title == "My save"
    assert "outside the output folder" in error.message
    for secret in (str(comfyui_engine.base_dir), str(comfyui_engine.settings.comfy_dir), "Traceback"):
        assert secret not in str(error)
    states = {timing.node_id: timing.state for timing in execution.nodes}
    assert states == {"1": NodeState.SUCCEEDED, "2": NodeState.FAILED}


async def test_two_prompts_in_flight(comfyui_engine: OwnedEngine) -> None:
    results = await asyncio.gather(*(comfyui_engine.execute(text(f"number {i}"), new_id()) for i in range(10)))
    assert [result.outputs["2"]["text"] for result in results] == [[f"number {i}"] for i in range(10)]


async def test_cancelling_stops_exactly_one(comfyui_engine: OwnedEngine) -> None:
    running_id, waiting_id, kept_id = new_id(), new_id(), new_id()
    events: list[EngineEvent] = []
    running = asyncio.create_task(comfyui_engine.execute(long("runs/cancel", MINUTES), running_id, events.append))
    await until(lambda: len(events) > 3)
    waiting = asyncio.create_task(comfyui_engine.execute(text("waiting"), waiting_id))
    kept = asyncio.create_task(comfyui_engine.execute(text("kept"), kept_id))
    await until(partial(are_queued, comfyui_engine, waiting_id, kept_id))
    assert await comfyui_engine.cancel(waiting_id)
    assert (await waiting).outcome is Outcome.INTERRUPTED
    assert not running.done()
    assert await comfyui_engine.cancel(running_id)
    assert (await running).outcome is Outcome.INTERRUPTED
    assert (await kept).outcome is Outcome.SUCCEEDED
    assert await comfyui_engine.cancel(new_id()), "a prompt that is not there is off the engine"


async def test_it_cannot_outlive_its_start(own_engine: OwnEngine, tmp_path: Path) -> None:
    """One engine through its lives: killed in mid-run, started again, stopped; and its folder taken by no other."""
    engine = await own_engine(base_dir=tmp_path / "base")
    assert processes_of(engine.base_dir)

    with pytest.raises(EngineStartFailed, match="Another worker"):
        await OwnedEngine(OwnedSettings(engine.settings.comfy_dir, engine.base_dir)).start()

    events: list[EngineEvent] = []
    running = asyncio.create_task(engine.execute(long("runs/killed", MINUTES), new_id(), events.append))
    await until(lambda: len(events) > 2)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineCrashed, match="SIGKILL"):
        await running
    assert isinstance(await engine.wait_dead(), EngineCrashed)
    assert not engine.alive
    with pytest.raises(EngineCrashed):
        await engine.execute(text("dead"), new_id())
    assert not processes_of(engine.base_dir)

    await engine.start()
    assert (await engine.execute(text("again"), new_id())).outcome is Outcome.SUCCEEDED
    await engine.stop()
    assert await engine.wait_dead() is None
    assert not processes_of(engine.base_dir)
    assert not (engine.base_dir / "engine.pid").exists()


async def test_an_engine_without_work_is_ended_at_once_and_one_with_work_is_asked(own_engine: OwnEngine) -> None:
    engine = await own_engine(patience=120.0)
    await engine.execute(text("done"), new_id())
    process = engine._process
    await engine.stop()
    assert process is not None
    assert process.returncode == -signal.SIGKILL

    await engine.start()
    process, events = engine._process, list[EngineEvent]()
    running = asyncio.create_task(engine.execute(long("runs/asked", MINUTES), new_id(), events.append))
    await until(lambda: len(events) > 2)
    await engine.stop()
    with pytest.raises(EngineCrashed):
        await running
    assert process is not None
    assert process.returncode != -signal.SIGKILL


async def test_memory_beyond_the_limit_ends_the_engine_with_a_reason(own_engine: OwnEngine) -> None:
    engine = await own_engine(memory_limit_bytes=64 * 2**20)
    async with asyncio.timeout(60):
        death = await engine.wait_dead()
    assert isinstance(death, EngineCrashed)
    assert death.code is FailureCode.OUT_OF_MEMORY
    assert "more than its limit of 0.1 GiB" in str(death)


async def test_a_broken_custom_node_hurts_nobody_and_secrets_stay_here(
    comfyui_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = tmp_path / "base/custom_nodes"
    (nodes / "broken").mkdir(parents=True)
    (nodes / "broken/__init__.py").write_text("raise RuntimeError('broken on purpose')")
    (nodes / "spy").mkdir()
    report = tmp_path / "seen.txt"
    (nodes / "spy/__init__.py").write_text(
        f"import os\nopen({str(report)!r}, 'w').write('\\n'.join(os.environ))\nNODE_CLASS_MAPPINGS = {{}}"
    )
    monkeypatch.setenv("RUNFLOW_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    engine = OwnedEngine(OwnedSettings(comfyui_dir, tmp_path / "base"))
    try:
        description = await engine.start()
        assert description.plugin
    finally:
        await engine.stop()
    seen = set(report.read_text().split())
    assert {"PATH", "HOME"} <= seen
    # The engine's own secret opens nothing but this engine, in which the node runs already (docs/security.md).
    assert {name for name in seen if name.startswith(("RUNFLOW", "AWS", "PIP"))} <= {"RUNFLOW_ENGINE_SECRET"}


SPEAKER = """
class Speak:
    RETURN_TYPES = ()
    FUNCTION = "speak"
    OUTPUT_NODE = True
    INPUT_TYPES = classmethod(lambda cls: {"required": {"words": ("STRING", {})}})

    def speak(self, words):
        print(words)
        return ()

NODE_CLASS_MAPPINGS = {"Speak": Speak}
"""


async def test_its_log_says_which_run_a_node_spoke_in(comfyui_dir: Path, tmp_path: Path) -> None:
    (nodes := tmp_path / "base/custom_nodes/speaker").mkdir(parents=True)
    (nodes / "__init__.py").write_text(SPEAKER)
    engine = OwnedEngine(OwnedSettings(comfyui_dir, tmp_path / "base"))
    await engine.start()
    try:
        for run in ("run-1", "run-2"):
            engine.note_run(run)
            assert (await engine.execute({"1": node("Speak", words=f"words of {run}")}, new_id())).error is None
            spoken = re.compile(rf"^\S+Z {run} words of {run}$", re.MULTILINE)
            await until(lambda pattern=spoken: pattern.search(engine.log_path.read_text()))
    finally:
        await engine.stop()


async def test_an_engine_that_cannot_start_says_why(comfyui_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineStartFailed, match="runflow comfyui install"):
        await OwnedEngine(OwnedSettings(tmp_path, tmp_path / "base")).start()
    wrong = OwnedEngine(OwnedSettings(comfyui_dir, tmp_path / "base", extra_arguments=("--no-such-flag",)))
    with pytest.raises(EngineStartFailed, match="does not know the flags --no-such-flag"):
        await wrong.start()
    assert not processes_of(tmp_path / "base")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_its_descriptors_are_its_own(comfyui_engine: OwnedEngine) -> None:
    """Of what this process has open an engine has nothing but the pipe of its own log."""
    pid = comfyui_engine.pid
    assert pid is not None
    ours = {descriptor_target(os.getpid(), number) for number in descriptors(os.getpid())}
    theirs = {number: descriptor_target(pid, number) for number in descriptors(pid)}
    assert {number for number, target in theirs.items() if target in ours and is_shared(target)} <= {1, 2}
    assert theirs[0] == os.devnull
    assert theirs[1] == theirs[2]
    assert theirs[1].startswith("pipe:")
    assert theirs[1] not in {descriptor_target(os.getpid(), number) for number in (0, 1, 2)}


def descriptors(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()]


def descriptor_target(pid: int, number: int) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/fd/{number}").readlink())
    return ""


def is_shared(target: str) -> bool:
    """Whether it names one open thing, and not a file or device that anybody opens for himself."""
    return target.startswith(("pipe:", "socket:"))


WORKER = """
import asyncio, sys
from pathlib import Path
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.owned import OwnedEngine

async def main():
    engine = OwnedEngine(OwnedSettings(Path(sys.argv[1]), Path(sys.argv[2]), with_plugin=False))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_worker_killed_with_9_leaves_no_engine(comfyui_dir: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    command = [sys.executable, "-c", WORKER, str(comfyui_dir), str(base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        try:
            lines = worker.stdout  # its log comes this way, too
            pid = await asyncio.to_thread(lambda: next(int(line) for line in lines if line.strip().isdigit()))
            assert pid in processes_of(base)
        finally:
            worker.kill()
    await until(lambda: not processes_of(base))
