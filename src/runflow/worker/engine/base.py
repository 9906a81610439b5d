"""What every engine can do, whether we started it or found it, and what can go wrong with one.

It is the interface that the worker's lease loop uses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.boundary import OpenedOutput
from runflow.worker.engine.execution import Execution, OnEvent, Prompt
from runflow.worker.engine.home_files import HomeFiles


class EngineError(Exception):
    """The engine could not do what was asked. The message names the cause and the next step."""


class EngineStartFailed(EngineError):
    """The engine did not come up. The message carries the cause read from its last log lines, and the next step."""


class EngineUnreachable(EngineError):
    """The engine does not answer on its address."""


class EngineRefused(EngineError):
    """The engine answered with an error status that has no meaning in the protocol; `status` is that status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class AnswerTooLarge(EngineRefused):
    """What a prompt's nodes told of its end is more than is read of it."""

    def __init__(self, message: str) -> None:
        super().__init__(200, message)


class EngineCrashed(EngineError):
    """The engine died, or lost the prompt, while it had work. The run may be tried again on another lease.

    `code` is `OUT_OF_MEMORY` where memory was the cause, else `ENGINE_CRASHED`; `log_tail` is the engine's own, and the
    run's failure tells the end of it. `again` is False where the run that executed would end the next engine likewise.
    """

    def __init__(
        self,
        message: str,
        *,
        code: FailureCode = FailureCode.ENGINE_CRASHED,
        log_tail: str = "",
        again: bool = True,
    ) -> None:
        self.again = again
        self.code = code
        self.log_tail = log_tail
        super().__init__(message)


class FileMissing(EngineError):
    """The engine does not have the file that was asked for."""


class EngineKind(StrEnum):
    """Whose process it is."""

    OWNED = "owned"
    ATTACHED = "attached"


class Ability(StrEnum):
    """What not every engine can do; `runflow comfyui check` lists what an attached one lacks."""

    LOCAL_FILES = "local_files"
    """Inputs and outputs are moved as files, not through HTTP."""
    OWN_FOLDERS = "own_folders"
    """Input and output folders are ours alone, and a run's are removed after it."""
    CACHE_OFF = "cache_off"
    """Identical prompts are executed again instead of answered with old files."""
    EXACT_INTERRUPT = "exact_interrupt"
    """A running prompt can be stopped without hitting another one (ComfyUI 0.3.57)."""
    KILL = "kill"
    """A prompt that does not listen to interrupts can be stopped by ending the process."""
    MEMORY_LIMIT = "memory_limit"
    """A prompt that eats the machine's memory is stopped before the machine suffers."""
    NO_METADATA = "no_metadata"
    """Stock nodes do not write the workflow into the files that they save."""


@dataclass(frozen=True, slots=True)
class OutputRef:
    """A file that a node reported, relative to the engine's folder `type` (`output` or `temp`)."""

    filename: str
    subfolder: str = ""
    type: str = "output"


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """What an engine cannot leave, and how it is started.

    `separates_files`: what it reads and writes is out of reach for an engine of another domain. `fork_level`: of the
    fork server that it came from, None for a plain boot. `why_not_better`: a sentence, None on the best rung.
    """

    rung: str
    separates_files: bool
    fork_level: int | None
    why_not_better: str | None


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine is. `memory_bytes` is the device's (GPU memory, or the machine's on CPU).

    `output_types`: those of `node_types` that are output nodes; a node that leads to none of them is never executed.
    """

    kind: EngineKind
    url: str
    version: str
    python: str
    torch: str
    device_type: str
    device_name: str
    memory_bytes: int
    node_types: frozenset[str]
    output_types: frozenset[str]
    plugin: bool
    abilities: frozenset[Ability]
    isolation: tuple[str, ...]
    sandbox: SandboxFacts | None = None


OnBoot = Callable[[float, str], None]
"""Called while an engine boots, with the seconds so far and its last log line."""


class Engine(Protocol):
    """One ComfyUI. Everything but `alive` may raise EngineError."""

    @property
    def kind(self) -> EngineKind:
        """Whose process it is."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do; known after `start`."""

    @property
    def alive(self) -> bool:
        """Whether it can take prompts now."""

    @property
    def isolates(self) -> bool:
        """Whether it serves one domain and another one needs a fresh engine; False: it serves all."""

    @property
    def quick(self) -> bool:
        """Whether it starts in a fraction of a second beside others, kept apart from them; False: it boots, alone."""

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """Where it looks for models, below which each kind has a folder; the first is ours to write. None attached."""

    def memory_bytes(self) -> int:
        """Return the resident memory of its processes now; 0 where that is not known."""

    async def start(self, on_boot: OnBoot | None = None) -> EngineDescription:
        """Bring it up, or connect to it, and return what it is. May be called again after `stop` or a crash."""

    async def stop(self) -> None:
        """End it (owned) or let go of it (attached). Prompts in flight raise EngineCrashed."""

    async def wait_dead(self) -> EngineError | None:
        """Wait until it is gone; the reason, or None when it was stopped on purpose."""

    async def describe(self) -> EngineDescription:
        """Return what it is now."""

    async def settled(self) -> SandboxFacts | None:
        """Wait until it is known how engines after this one start; return what is said then. None: nothing new."""

    async def place_input(self, run_folder: str, name: str, path: Path) -> str:
        """Give it a file for one run, below a folder of its own. Returns the name for a loader node."""

    async def lay_home(self, files: HomeFiles) -> None:
        """Have its home hold these links and texts; raises OSError. One whose home is not ours is left as it is."""

    async def begin(self, run_folder: str) -> None:
        """Take note of a run before anything of it is placed: until `clean` nothing goes that it may need."""

    async def open_output(self, output: OutputRef, staging: Path) -> OpenedOutput:
        """Open an output; one that must be fetched is at first written to `staging`, a path of ours.

        Raises FileMissing, whose message says why, and OSError where it cannot be fetched to our disk.
        """

    def note_run(self, run_id: str | None) -> None:
        """Take what the engine prints from now on for this run's, where it is logged; None: the run has ended."""

    async def execute(
        self,
        prompt: Prompt,
        prompt_id: str,
        on_event: OnEvent | None = None,
        *,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Run one prompt to its end; several may be in flight. See PromptSession.execute."""

    async def cancel(self, prompt_id: str, *, timeout: float = 10.0) -> bool:
        """Stop exactly that prompt; whether it is off the engine after `timeout` seconds."""

    async def free(self) -> None:
        """Let it give up its models and what it remembers, before the next prompt that it is given."""

    async def clean(self, run_folder: str) -> None:
        """Remove what a run left in the engine's folders, as far as it can."""
