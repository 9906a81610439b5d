"""Why an engine ended, and what to do."""

import pytest

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.diagnosis import diagnose


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (1, "ModuleNotFoundError: No module named 'einops'", "module einops is missing"),
        (1, "AssertionError: Torch not compiled with CUDA enabled", "--cpu"),
        (2, "main.py: error: unrecognized arguments: --nope", "does not know the flags --nope"),
        (1, "OSError: [Errno 98] error while attempting to bind: address already in use", "port was taken"),
        (1, "OSError: [Errno 28] No space left on device", "disk is full"),
        (-9, "got prompt", "signal SIGKILL"),
        (-11, "", "signal SIGSEGV"),
        (3, "x\nValueError: kaput", "ValueError: kaput"),
        (0, "", "exit code 0"),
        (97, "SANDBOX: mounting tmpfs at /x: Operation not permitted", "be built: mounting tmpfs at /x: Operation not"),
        (97, "SANDBOX: mounting tmpfs at /x: Operation not permitted", "see `runflow comfyui check`, and restart"),
        (97, "SANDBOX: /gone: No such file or directory", "moved or removed while the worker ran"),
        (97, "SANDBOX: mounting: No space left on device", "Free some space"),
        (97, "x", "it did not say why. Restart the worker."),
        (1, "SANDBOX: a node pack's own words\nValueError: kaput", "ValueError: kaput"),
        (None, "", "ended"),
    ],
)
def test_the_cause_is_read_from_the_end_of_the_log(code: int | None, log: str, words: str) -> None:
    found = diagnose(code, log)
    assert words in found.text
    assert found.code is FailureCode.ENGINE_CRASHED


def test_memory_is_a_cause_of_its_own() -> None:
    assert diagnose(-9, "torch.OutOfMemoryError: CUDA out of memory").code is FailureCode.OUT_OF_MEMORY
    ours = diagnose(-9, "", "The engine used too much.")
    assert (ours.text, ours.code) == ("The engine used too much.", FailureCode.OUT_OF_MEMORY)
