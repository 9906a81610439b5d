"""Does what plans ask for on an event loop; files are read and written in threads."""

import asyncio
import hashlib
import inspect
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx

from runflow.client import effects
from runflow.client.connection import BROKEN, OK, answer_of, headers_of, timeout_of, unreachable
from runflow.client.effects import Answer, Effect, Emit, Iteration, Plan, Request
from runflow.client.files import CHUNK, Source, put, unfinished

T = TypeVar("T")


class AsyncDriver:
    """Follows plans. Several tasks of one loop may share one."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def follow(self, plan: Plan[T]) -> T:
        """Follow a plan to its end and return its result."""
        async with _Stream(self._http) as stream:
            try:
                effect = next(plan)
                while True:
                    try:
                        result = await self._do(effect, stream)
                    except Exception as error:
                        effect = plan.throw(error)
                    else:
                        effect = plan.send(result)
            except StopIteration as ended:
                found: T = ended.value
                return found

    async def iterate(self, plan: Iteration[T]) -> AsyncIterator[T]:
        """Yield what a plan emits."""
        async with _Stream(self._http) as stream:
            try:
                effect = next(plan)
                while True:
                    if isinstance(effect, Emit):
                        yield effect.item
                        effect = next(plan)
                        continue
                    try:
                        result = await self._do(effect, stream)
                    except Exception as error:
                        effect = plan.throw(error)
                    else:
                        effect = plan.send(result)
            except StopIteration:
                return

    async def _do(self, effect: Effect, stream: "_Stream") -> Any:
        match effect:
            case effects.Send(request):
                return await self._send(request)
            case effects.Open(request):
                return await stream.open(request)
            case effects.ReadLine():
                return await stream.line()
            case effects.Save():
                return await self._save(effect)
            case effects.Pause(seconds):
                return await asyncio.sleep(seconds)
            case effects.Compute(function):
                return await asyncio.to_thread(function)
            case effects.Tell(function, argument):
                told = function(argument)
                return await told if inspect.isawaitable(told) else told
            case effects.Alone(name, plan):
                async with self._locks[name]:
                    return await self.follow(plan())

    async def _send(self, request: Request) -> Answer:
        try:
            response = await self._http.request(
                request.method,
                request.url,
                params=request.params or None,
                headers=headers_of(request),
                content=request.body if request.source is None else _chunks(request.source),
                timeout=timeout_of(request),
            )
        except BROKEN as error:
            raise unreachable(request.url, error) from error
        return answer_of(response, response.content)

    async def _save(self, asked: effects.Save) -> tuple[Answer, str, Path]:
        request, path = asked.request, asked.path
        digest = hashlib.sha256()
        partial = unfinished(path)
        try:
            async with self._http.stream(
                request.method, request.url, headers=headers_of(request), timeout=timeout_of(request)
            ) as response:
                if response.status_code != OK:
                    return answer_of(response, await response.aread()), "", path
                with await asyncio.to_thread(partial.open, "wb") as file:
                    async for chunk in response.aiter_raw():
                        digest.update(chunk)
                        await asyncio.to_thread(file.write, chunk)
            if asked.sha256 in (None, digest.hexdigest()):
                path = await asyncio.to_thread(put, partial, path, replaces=asked.replaces)
        except BROKEN as error:
            raise unreachable(request.url, error) from error
        finally:
            partial.unlink(missing_ok=True)
        return answer_of(response), digest.hexdigest(), path


class _Stream:
    """The one stream that a plan may have open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._stack = AsyncExitStack()
        self._url = ""
        self._lines: AsyncIterator[str] | None = None

    async def __aenter__(self) -> "_Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def open(self, request: Request) -> Answer:
        await self._stack.aclose()
        self._url = request.url
        try:
            response = await self._stack.enter_async_context(
                self._http.stream(
                    request.method,
                    request.url,
                    params=request.params or None,
                    headers=headers_of(request),
                    timeout=timeout_of(request),
                )
            )
            if response.status_code != OK:
                return answer_of(response, await response.aread())
        except BROKEN as error:
            raise unreachable(request.url, error) from error
        self._lines = response.aiter_lines()
        return answer_of(response)

    async def line(self) -> str | None:
        assert self._lines is not None
        try:
            return await anext(self._lines, None)
        except BROKEN as error:
            raise unreachable(self._url, error) from error


async def _chunks(source: Source) -> AsyncIterator[bytes]:
    with source.open() as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
