"""Why did an engine end? Read from its exit status and its last log lines: the cause and the next step."""

import re
import signal
from dataclasses import dataclass

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.forks.serving import RESTART_EXIT_CODE

SANDBOX_EXIT_CODE = 97
"""Of an engine whose sandbox could not be built (`isolation/enter.py`)."""
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"ModuleNotFoundError: No module named '?([\w.]+)",
        "The Python module {0} is missing. Install it into ComfyUI's environment, or run `runflow comfyui install`.",
    ),
    (
        r"Torch not compiled with CUDA enabled|Found no NVIDIA driver",
        "This torch does not fit this machine's GPU. Run `runflow comfyui install` with --with-cuda or --cpu.",
    ),
    (
        r"CUDA driver version is insufficient[^\n]*",
        "The NVIDIA driver is older than this torch needs. Update the driver, or install an older torch.",
    ),
    (r"(?i)address already in use", "Its port was taken by another process. Start it again."),
    (r"No space left on device", "The disk is full. Free some space."),
    (r"(?i)out of memory|can't allocate memory|MemoryError", "It ran out of memory. Use a machine with more memory."),
    (r"error: unrecognized arguments: ([^\n]+)", "This ComfyUI does not know the flags {0}. Report its version."),
    (r"PermissionError: [^\n]*", "It may not read or write one of its files. Check the owner of its folders."),
)
_MEMORY = re.compile(r"(?i)out of memory|can't allocate memory|MemoryError|OutOfMemory")
_SANDBOX = re.compile(r"^SANDBOX: (.+)$", re.MULTILINE)
_SANDBOX_CAUSES: tuple[tuple[str, str], ...] = (
    (r"No space left|Disk quota", "The disk, or the memory for files, is full. Free some space."),
    (
        r"Too many open files|Resource temporarily|Cannot allocate",
        "The machine is at its limit of processes or memory.",
    ),
    (
        r"No such file|Not a directory",
        "Something that it is made of was moved or removed while the worker ran. Restart the worker.",
    ),
    (
        r"not permitted|Permission denied|Invalid argument",
        "What this machine allows has changed since the worker began: see `runflow comfyui check`, and restart the "
        "worker, which looks anew for what works.",
    ),
)
_LAST_WORDS = re.compile(r"^(\w+(?:\.\w+)*(?:Error|Exception|Interrupt)): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause with its next step, in one sentence or two, and the failure code of the runs that it took along.

    `again`: whether the run that executed then may go better elsewhere.
    """

    text: str
    code: FailureCode
    again: bool = True


def diagnose(returncode: int | None, log_tail: str, killed_because: str | None = None) -> Diagnosis:
    """Explain an engine's end. `killed_because` is our own reason where we killed it for its memory."""
    if killed_because:
        return Diagnosis(killed_because, FailureCode.OUT_OF_MEMORY)
    if returncode == SANDBOX_EXIT_CODE:
        return Diagnosis(_no_sandbox(log_tail), FailureCode.ENGINE_CRASHED)
    if returncode == RESTART_EXIT_CODE:
        text = "A custom node restarted ComfyUI, which ends the engine. Take that node out."
        return Diagnosis(text, FailureCode.ENGINE_CRASHED, again=False)
    code = FailureCode.OUT_OF_MEMORY if _MEMORY.search(log_tail) else FailureCode.ENGINE_CRASHED
    how = _how(returncode)
    for pattern, advice in _CAUSES:
        if found := re.search(pattern, log_tail):
            return Diagnosis(f"The engine {how}. {advice.format(*found.groups())}", code)
    if returncode == -signal.SIGKILL:
        return Diagnosis(
            f"The engine {how}: from outside, or by the kernel for want of memory (its log says which, e.g. `dmesg`).",
            code,
        )
    words = _LAST_WORDS.findall(log_tail)
    last = f" Its last error: {words[-1][0]}: {words[-1][1]}." if words else ""
    return Diagnosis(f"The engine {how}.{last} Its log has the rest.", code)


def _no_sandbox(log_tail: str) -> str:
    said = _SANDBOX.findall(log_tail)
    what = said[-1].rstrip(".") if said else "it did not say why"
    advice = (advice for pattern, advice in _SANDBOX_CAUSES if re.search(pattern, what))
    return f"The engine's sandbox could not be built: {what}. " + next(advice, "Restart the worker.")


def _how(returncode: int | None) -> str:
    if returncode is None:
        return "ended"
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = str(-returncode)
        return f"was ended by signal {name}"
    return f"ended with exit code {returncode}"
