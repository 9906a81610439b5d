"""What the client's plans ask for. A plan is a generator of effects; a driver does each and sends back what came of it.

The rules of the client stand in plans, once; `driver.py` and `async_driver.py` do nothing but what these classes say.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from runflow.client.files import Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to be sent any number of times. `timeout` in seconds, for each read and write."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    params: Mapping[str, str] | None = None
    body: bytes | None = field(default=None, repr=False)
    source: Source | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """Return the body's JSON, null for an empty one."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request: gives its `Answer`. Raises `RunflowUnreachable` inside the plan."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream in place of the one before: gives its `Answer`, without the body if the status is 200."""

    request: Request


@dataclass(frozen=True, slots=True)
class ReadLine:
    """Read the open stream's next line: gives it, or None at the end. Raises `RunflowUnreachable` inside the plan."""


@dataclass(frozen=True, slots=True)
class Save:
    """Fetch a file to `path`, whole or not at all: gives (`Answer`, SHA-256 in hex, where it lies).

    A file with another SHA-256 than `sha256`, where that is known, is dropped, and what lies at `path` stays. Without
    `replaces` it stays in any case, and the file gets the first free name. Raises `RunflowUnreachable`, OSError.
    """

    request: Request
    path: Path
    sha256: str | None = None
    replaces: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Compute:
    """Call a function that reads files or computes: gives what it returns. Off the event loop, if there is one."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Tell:
    """Call a function of the caller's, which may be a coroutine function for the asynchronous client."""

    function: Callable[..., Any]
    argument: Any


@dataclass(frozen=True, slots=True)
class Alone:
    """Follow another plan while no other one with the same name is followed: gives what it returns."""

    name: str
    plan: Callable[[], "Plan[Any]"]


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Give the caller one item of an iteration."""

    item: T


Effect: TypeAlias = Send | Open | ReadLine | Save | Pause | Compute | Tell | Alone
Plan: TypeAlias = Generator[Effect, Any, T]
"""Ends with a result of type T."""
Iteration: TypeAlias = Generator[Effect | Emit[T], Any, None]
"""Emits items of type T."""


def send(request: Request) -> Plan[Answer]:
    """Ask for an answer, with its type."""
    answer: Answer = yield Send(request)
    return answer


def opened(request: Request) -> Plan[Answer]:
    """Ask for a stream, with the type of its answer."""
    answer: Answer = yield Open(request)
    return answer


def line() -> Plan[str | None]:
    """Ask for the stream's next line, with its type."""
    text: str | None = yield ReadLine()
    return text


def saved(request: Request, path: Path, sha256: str | None, *, replaces: bool) -> Plan[tuple[Answer, str, Path]]:
    """Ask for a file, with the type of what is told of it."""
    result: tuple[Answer, str, Path] = yield Save(request, path, sha256, replaces)
    return result


def told(iteration: Iteration[T], function: Callable[[T], Any] | None) -> Plan[None]:
    """Follow an iteration to its end and tell the caller's function of each item."""
    try:
        effect = next(iteration)
        while True:
            if isinstance(effect, Emit):
                if function is not None:
                    yield Tell(function, effect.item)
                effect = next(iteration)
                continue
            try:
                result = yield effect
            except Exception as error:
                effect = iteration.throw(error)
            else:
                effect = iteration.send(result)
    except StopIteration:
        return


def computed(function: Callable[[], T]) -> Plan[T]:
    """Ask for what a function returns, with its type."""
    result: T = yield Compute(function)
    return result
