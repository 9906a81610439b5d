"""A command that is started in a sandbox, and ended with everything that it has started."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from runflow.worker.engine.isolation.rungs import enter_command, hand_over

_KEEPER_SECONDS = 15.0
"""How long what holds it may take to end all that the command has started."""


class Started:
    """A command in its sandbox; `process` waits outside, so that its end is the command's, and prints what it does."""

    def __init__(self, process: asyncio.subprocess.Process, held: int) -> None:
        self.process = process
        self._held: int | None = held

    async def end(self) -> int:
        """End it with everything that it has started, wherever that went, and return its exit status."""
        if self._held is not None:
            os.close(self._held)  # whoever waits outside hears it, and ends everything
            self._held = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KEEPER_SECONDS):
                return await self.process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return await self.process.wait()


async def start(python: Path, given: dict[str, Any]) -> Started:
    """Start what a plan says (`rungs.plan`) by the rung's script, in this Python. Raises OSError.

    It ends with us, and with the thread that calls this.
    """
    guard, held = os.pipe()
    os.set_inheritable(guard, True)
    handed = hand_over({**given, "keep": [], "worker": os.getpid(), "guard": guard})
    try:
        process = await asyncio.create_subprocess_exec(
            *enter_command(python, given["script"], handed),
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(guard, handed),
        )
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(guard)
        os.close(handed)
    return Started(process, held)


async def tried(python: Path, given: dict[str, Any], seconds: float) -> str | None:
    """Run a plan whose command says by its end whether all is well; return what was wrong, None for nothing."""
    try:
        started = await start(python, given)
    except OSError as error:
        return f"{python} cannot be started: {error.strerror}"
    try:
        async with asyncio.timeout(seconds):
            said, _ = await started.process.communicate()
    except TimeoutError:
        return f"a program in it did not end within {seconds:.0f} seconds"
    finally:
        await started.end()
    if started.process.returncode == 0:
        return None
    lines = said.decode(errors="replace").strip().splitlines() or ["it ended without a word"]
    return lines[-1].removeprefix("SANDBOX: ")
