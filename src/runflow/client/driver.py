"""Does what plans ask for, one after the other, in the caller's thread."""

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx

from runflow.client import effects
from runflow.client.connection import BROKEN, OK, answer_of, headers_of, timeout_of, unreachable
from runflow.client.effects import Answer, Effect, Emit, Iteration, Plan, Request
from runflow.client.files import put, unfinished

T = TypeVar("T")


class Driver:
    """Follows plans. Several threads may share one."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def follow(self, plan: Plan[T]) -> T:
        """Follow a plan to its end and return its result."""
        with _Stream(self._http) as stream:
            try:
                effect = next(plan)
                while True:
                    try:
                        result = self._do(effect, stream)
                    except Exception as error:
                        effect = plan.throw(error)
                    else:
                        effect = plan.send(result)
            except StopIteration as ended:
                found: T = ended.value
                return found

    def iterate(self, plan: Iteration[T]) -> Iterator[T]:
        """Yield what a plan emits."""
        with _Stream(self._http) as stream:
            try:
                effect = next(plan)
                while True:
                    if isinstance(effect, Emit):
                        yield effect.item
                        effect = next(plan)
                        continue
                    try:
                        result = self._do(effect, stream)
                    except Exception as error:
                        effect = plan.throw(error)
                    else:
                        effect = plan.send(result)
            except StopIteration:
                return

    def _do(self, effect: Effect, stream: "_Stream") -> Any:
        match effect:
            case effects.Send(request):
                return self._send(request)
            case effects.Open(request):
                return stream.open(request)
            case effects.ReadLine():
                return stream.line()
            case effects.Save():
                return self._save(effect)
            case effects.Pause(seconds):
                return time.sleep(seconds)
            case effects.Compute(function):
                return function()
            case effects.Tell(function, argument):
                return function(argument)
            case effects.Alone(name, plan):
                with self._locks[name]:
                    return self.follow(plan())

    def _send(self, request: Request) -> Answer:
        try:
            response = self._http.request(
                request.method,
                request.url,
                params=request.params or None,
                headers=headers_of(request),
                content=request.body if request.source is None else request.source.chunks(),
                timeout=timeout_of(request),
            )
        except BROKEN as error:
            raise unreachable(request.url, error) from error
        return answer_of(response, response.content)

    def _save(self, asked: effects.Save) -> tuple[Answer, str, Path]:
        request, path = asked.request, asked.path
        digest = hashlib.sha256()
        partial = unfinished(path)
        try:
            with self._http.stream(
                request.method, request.url, headers=headers_of(request), timeout=timeout_of(request)
            ) as response:
                if response.status_code != OK:
                    return answer_of(response, response.read()), "", path
                with partial.open("wb") as file:
                    for chunk in response.iter_raw():
                        digest.update(chunk)
                        file.write(chunk)
            if asked.sha256 in (None, digest.hexdigest()):
                path = put(partial, path, replaces=asked.replaces)
        except BROKEN as error:
            raise unreachable(request.url, error) from error
        finally:
            partial.unlink(missing_ok=True)
        return answer_of(response), digest.hexdigest(), path


class _Stream:
    """The one stream that a plan may have open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._stack = ExitStack()
        self._url = ""
        self._lines: Iterator[str] = iter(())

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, request: Request) -> Answer:
        self._stack.close()
        self._url = request.url
        try:
            response = self._stack.enter_context(
                self._http.stream(
                    request.method,
                    request.url,
                    params=request.params or None,
                    headers=headers_of(request),
                    timeout=timeout_of(request),
                )
            )
            if response.status_code != OK:
                return answer_of(response, response.read())
        except BROKEN as error:
            raise unreachable(request.url, error) from error
        self._lines = response.iter_lines()
        return answer_of(response)

    def line(self) -> str | None:
        try:
            return next(self._lines, None)
        except BROKEN as error:
            raise unreachable(self._url, error) from error
