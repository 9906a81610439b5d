"""The confined process's end: what arrives, what is sent, and when it is over."""

import subprocess
import sys

from runflow.sandbox.connection import SIZE_BYTES
from runflow.sandbox.process import ConfinedProcess
from tests.sandbox.conftest import READY, ask


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(SIZE_BYTES) + message


def said(module: str, incoming: bytes) -> bytes:
    """Return all that a process says to this input, whose end is its own."""
    done = subprocess.run([sys.executable, "-P", "-m", module], input=incoming, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_says_that_it_is_ready_and_ends_with_its_input(module: str) -> None:
    assert said(module, b"") == framed(READY)


def test_a_message_that_was_cut_off_is_none(module: str) -> None:
    whole = framed(b"echo whole")
    for cut in (whole[:3], whole[:-1]):
        assert said(module, whole + cut) == framed(READY) + framed(b"whole")


async def test_what_is_printed_does_not_get_between_the_answers(process: ConfinedProcess) -> None:
    assert await ask(process, "print 12345678901234567890") == "printed"
    assert await ask(process, "echo next") == "next"
