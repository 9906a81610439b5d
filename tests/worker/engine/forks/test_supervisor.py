"""Whether engines are forked, at which level, and what is known of that before one was booted; real ComfyUI."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest

from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.execution import Outcome
from runflow.worker.engine.forks.fork_server import ForkedEngine
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation.rungs import Rung
from runflow.worker.engine.owned import OwnedEngine

pytestmark = pytest.mark.e2e

PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "test"}},
}
PID = "3f7a1c52-0000-4000-8000-000000000000"
NewHome = Callable[..., EngineHome]


@pytest.fixture
async def new_home(comfyui_dir: Path, tmp_path: Path) -> AsyncIterator[NewHome]:
    """Returns a function that makes a home with a fresh folder; they share what is known of forks."""
    made: list[EngineHome] = []

    def make(levels: tuple[int, ...] | None = None) -> EngineHome:
        made.append(
            EngineHome(
                OwnedSettings(
                    comfyui_dir,
                    tmp_path / f"base-{len(made)}",
                    enclosed=True,
                    network=False,
                    fork_levels=levels,
                    proofs=tmp_path / "proofs",
                )
            )
        )
        return made[-1]

    yield make
    for home in made:
        await home.close()


async def started(home: EngineHome) -> OwnedEngine:
    engine = OwnedEngine(home.settings, home)
    await engine.start()
    if home.sandbox.rung is not Rung.NAMESPACES:
        await engine.stop()
        pytest.skip(f"engines are forked in namespaces: {home.sandbox.why_not_better}")
    return engine


def is_forked(engine: OwnedEngine) -> bool:
    return isinstance(engine._process, ForkedEngine)


async def test_a_fresh_home_forks_its_first_engine_where_another_one_has_proved_that(
    new_home: NewHome, tmp_path: Path
) -> None:
    first = new_home()
    engine = await started(first)
    assert not is_forked(engine)
    await first.forks.settled()
    assert engine.quick, first.forks.why_not_better
    await engine.stop()

    second = new_home()
    engine = await started(second)
    assert is_forked(engine)
    assert (await engine.describe()).sandbox == first.facts
    await engine.stop()

    # Known to have a class that it has not: the first fork shows it, and all begins anew.
    (proof,) = (tmp_path / "proofs").iterdir()
    known = orjson.loads(proof.read_bytes())
    proof.write_bytes(orjson.dumps({**known, "node_types": [*known["node_types"], "NoSuchNode"]}))
    third = new_home()
    engine = await started(third)
    assert not is_forked(engine)
    await third.forks.settled()
    assert engine.quick, third.forks.why_not_better
    assert orjson.loads(proof.read_bytes())["node_types"] == known["node_types"]
    await engine.stop()


async def test_engines_are_forked_from_their_packages_alone(new_home: NewHome) -> None:
    home = new_home((0,))
    booted = await started(home)
    node_types = (await booted.describe()).node_types
    await home.settled()
    assert (home.forks.level, home.facts.fork_level) == (0, 0), home.forks.why_not_better
    await booted.stop()
    engine = await started(home)
    assert is_forked(engine)
    assert (await engine.describe()).node_types == node_types
    execution = await engine.execute(PROMPT, PID)
    assert execution.outcome is Outcome.SUCCEEDED, execution.error
    await engine.stop()
    assert home.forks.server is not None
    assert home.forks.server.is_idle
    # Nothing of ComfyUI is in what they are forked from.
    (parent, *_) = home.forks.server.processes()
    assert not any("/comfy_extras/" in line for line in Path(f"/proc/{parent.pid}/maps").read_text().splitlines())

    other = new_home((0,))
    engine = await started(other)
    assert is_forked(engine)
    await engine.stop()


async def test_what_cannot_be_imported_before_the_fork_is_forked_from_its_packages(
    new_home: NewHome,
) -> None:
    home = new_home()
    await home.open()
    pack = home.base_dir / "custom_nodes" / "Ends"
    pack.mkdir()
    # It ends the fork server, and no engine.
    (pack / "__init__.py").write_text(
        "import os, sys\n"
        "if not sys.modules['__main__'].__file__.endswith('main.py'): os._exit(7)\n"
        "NODE_CLASS_MAPPINGS = {}\n"
    )
    engine = await started(home)
    try:
        await home.settled()
        assert home.forks.level == 0, home.forks.why_not_better
        assert "Level 3 does not work" in (home.facts.why_not_better or "")
    finally:
        await engine.stop()


async def test_a_home_that_was_warmed_forks_its_first_engine(new_home: NewHome) -> None:
    """What a look at a runtime has found stands for a boot."""
    home = new_home()
    await home.warm(frozenset({"EmptyImage", "SaveImage"}))
    engine = await started(home)
    assert is_forked(engine)
    assert (await engine.execute(PROMPT, PID)).outcome is Outcome.SUCCEEDED
    await engine.stop()
    # It is the next worker's proof, too.
    engine = await started(new_home())
    assert is_forked(engine)
    await engine.stop()


async def test_a_home_that_lacks_what_it_was_seen_to_have_boots_its_first_engine(new_home: NewHome) -> None:
    home = new_home()
    await home.warm(frozenset({"EmptyImage", "NobodyHasThis"}))
    assert "NobodyHasThis" in str(home.forks.why_not_better)
    engine = await started(home)
    assert not is_forked(engine)
    await engine.stop()
