"""A command that is started in a sandbox: what is said of it, and its end."""

import sys
import textwrap
from pathlib import Path

from runflow.worker.engine.isolation.started import start, tried
from tests.support.shut_in import named
from tests.support.waiting import until
from tests.worker.engine.isolation.conftest import Held

PYTHON = Path(sys.executable)


async def test_what_was_wrong_is_said_in_one_line(held: Held) -> None:
    assert await tried(PYTHON, held.plan("print('well')"), 60) is None
    assert (
        await tried(PYTHON, held.plan("print('one'); print('it is wrong'); raise SystemExit(3)"), 60) == "it is wrong"
    )
    assert await tried(PYTHON, held.plan("raise SystemExit(3)"), 60) == "it ended without a word"
    assert "cannot be started" in (await tried(Path("/not/there"), held.plan(""), 60) or "")
    refused = await tried(PYTHON, held.plan("", folder="/not/there"), 60)
    assert refused == "/not/there: No such file or directory"


async def test_what_does_not_end_is_ended(held: Held) -> None:
    word = held.life.parent.parent.name
    assert "did not end" in (await tried(PYTHON, held.plan(f"import time; time.sleep(600)  # {word}"), 1) or "")
    assert not named(word)


async def test_its_end_is_that_of_all_it_started(held: Held) -> None:
    word = held.life.parent.parent.name
    code = f"""
        # {word}
        import os, time
        if os.fork() == 0:
            os.setsid()
        open(os.environ["BASE"] + f"/output/{{os.getpid()}}", "w").close()
        time.sleep(600)
    """
    started = await start(PYTHON, held.plan(textwrap.dedent(code)))
    await until(lambda: len(list((held.life / "output").iterdir())) == 2)
    assert await started.end() != 0
    assert await started.end() != 0
    assert not named(word)
