"""ComfyUI's HTTP interface, one method per call. Nothing here waits for a prompt; `session` does.

Every answer is read as recorded from ComfyUI 0.3.12 to 0.33.0. No `Origin` is sent: ComfyUI refuses foreign ones.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import orjson

from runflow.worker.engine.base import AnswerTooLarge, EngineRefused, EngineUnreachable, FileMissing
from runflow.worker.engine.execution import Prompt, PromptRejected
from runflow.worker.engine.failures import read_rejection
from runflow.worker.server_api.http_answer import MOST_BYTES, AnswerTooLong
from runflow.worker.server_api.origin_client import OriginClient

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_STALLED_SECONDS = 120.0
_KEEP_SECONDS = 60.0
_JSON = {"Content-Type": "application/json"}
_CHUNK = 256 * 1024
MOST_HISTORY_BYTES = 16 * 1024 * 1024
"""Of what a prompt's nodes told: names of files and short texts. What is larger belongs into a file."""
_MOST_VALUES = 1_000_000
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """Where ComfyUI put an uploaded file, below its folder `type`."""

    name: str
    subfolder: str
    type: str

    @property
    def input_name(self) -> str:
        """The value that a loader node takes for it."""
        return f"{self.subfolder}/{self.name}" if self.subfolder else self.name


@dataclass(frozen=True, slots=True)
class QueueState:
    """The ids of the prompts that an engine runs and holds."""

    running: frozenset[str]
    pending: frozenset[str]

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self.running or prompt_id in self.pending


class ComfyClient:
    """Persistent connections to one ComfyUI. `headers` go with every request (credentials of an attached engine).

    With `socket_path` it listens on that Unix socket, and the URL only names it.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        hidden_folders: tuple[str, ...] = (),
        socket_path: str | None = None,
        offline: bool = False,
    ) -> None:
        self.url = url.rstrip("/")
        self.offline = offline
        """Whether the engine has no network: a node that wanted one is told so."""
        self._socket_path = socket_path
        self._headers = dict(headers or {})
        self._hidden = hidden_folders
        self._session: aiohttp.ClientSession | None = None
        self._requests = OriginClient(
            self.url,
            headers=self._headers,
            connect_seconds=_CONNECT_SECONDS,
            keep_seconds=_KEEP_SECONDS,
            socket_path=socket_path,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def hidden_folders(self) -> tuple[str, ...]:
        """Folders of the engine's machine that no message to a caller may name."""
        return self._hidden

    async def close(self) -> None:
        """Close every connection."""
        await self._requests.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def session(self) -> aiohttp.ClientSession:
        """Return the shared connections, made inside the running event loop at first use."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=self._connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS),
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self._socket_path is not None:
            return aiohttp.UnixConnector(self._socket_path, limit=0, keepalive_timeout=_KEEP_SECONDS)
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_SECONDS)

    async def system_stats(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Return version, arguments and devices; ComfyUI's readiness probe."""
        stats: dict[str, Any] = orjson.loads(await self._call("GET", "/system_stats", timeout=timeout))
        return stats

    async def object_info(self) -> dict[str, bool]:
        """Return the class name of every node that the engine has, and of each whether it is an output node."""
        info = orjson.loads(await self._call("GET", "/object_info"))
        return {name: isinstance(node, dict) and bool(node.get("output_node")) for name, node in info.items()}

    async def model_files(self) -> list[str]:
        """Return the path below `models/` of every model that the engine offers."""
        found: list[str] = []
        for kind in orjson.loads(await self._call("GET", "/models")):
            names = orjson.loads(await self._call("GET", f"/models/{quote(str(kind), safe='')}"))
            found += [f"{kind}/{name}".replace("\\", "/") for name in names if isinstance(name, str)]
        return sorted(set(found))

    async def submit(
        self, prompt: Prompt, prompt_id: str, client_id: str, extra_data: Mapping[str, Any] | None = None
    ) -> str:
        """Queue a prompt and return the id under which the engine runs it.

        Before ComfyUI 0.3.45 that is the engine's own, not `prompt_id`. Raises PromptRejected; with `partial` when the
        engine has queued the valid part of a prompt that is invalid elsewhere, which the caller must then remove.
        """
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, "extra_data": extra_data or {}}
        status, content = await self._exchange("POST", "/prompt", orjson.dumps(body))
        answer = _object(content)
        if answer is None or status not in (200, 400):
            raise EngineRefused(status, f"The engine answered the prompt with HTTP {status}: {_start(content)}")
        if status == 400 or answer.get("node_errors"):
            error = read_rejection(answer, prompt, self._hidden)
            raise PromptRejected(error, partial=status == 200, queued_id=answer.get("prompt_id"))
        return str(answer.get("prompt_id") or prompt_id)

    async def history(self, prompt_id: str, *, most_bytes: int = MOST_HISTORY_BYTES) -> dict[str, Any] | None:
        """Return the history entry of a finished prompt; None while it is unknown, queued or running.

        Raises AnswerTooLarge where there is more than `most_bytes` of it, or what takes many times that in memory.
        """
        content = await self._call("GET", f"/history/{prompt_id}", most_bytes=most_bytes)
        if holds_too_much(content):
            raise AnswerTooLarge("The nodes told of more than a million values.")
        entry = _read(content, dict).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    async def forget(self, prompt_ids: Iterable[str]) -> None:
        """Delete history entries; ComfyUI keeps up to 10,000, each with its whole prompt."""
        await self._call("POST", "/history", orjson.dumps({"delete": list(prompt_ids)}))

    async def queue(self) -> QueueState:
        """Return which prompts run and which wait."""
        answer = _read(await self._call("GET", "/queue"), dict)
        try:
            running, pending = (
                frozenset(item[1] for item in answer[key]) for key in ("queue_running", "queue_pending")
            )
        except (KeyError, IndexError, TypeError):
            raise EngineRefused(200, "The engine's answer about its queue cannot be understood.") from None
        return QueueState(running, pending)

    async def dequeue(self, prompt_id: str) -> None:
        """Remove a waiting prompt. It leaves no event and no history; nothing happens to one that runs."""
        await self._call("POST", "/queue", orjson.dumps({"delete": [prompt_id]}))

    async def interrupt(self, prompt_id: str) -> None:
        """Interrupt the prompt if it is running. Before ComfyUI 0.3.57 this stops whatever runs: look first."""
        await self._call("POST", "/interrupt", orjson.dumps({"prompt_id": prompt_id}))

    async def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Ask for memory back; done between prompts. `free_memory` also empties the node cache."""
        await self._call("POST", "/free", orjson.dumps({"unload_models": unload_models, "free_memory": free_memory}))

    async def upload(
        self, content: Path | bytes, name: str, subfolder: str = "", *, overwrite: bool = True
    ) -> UploadedFile:
        """Send a file into the engine's input folder. With `overwrite` it keeps its name. Any type of file is taken."""
        form = aiohttp.FormData()
        data = await asyncio.to_thread(content.open, "rb") if isinstance(content, Path) else content
        form.add_field("image", data, filename=name, content_type="application/octet-stream")
        form.add_field("subfolder", subfolder)
        form.add_field("type", "input")
        form.add_field("overwrite", "true" if overwrite else "false")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_STALLED_SECONDS)
        try:
            async with self.session().post(f"{self.url}/upload/image", data=form, timeout=timeout) as response:
                status, answer = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        finally:
            if not isinstance(data, bytes):
                data.close()
        if status == 413:
            raise EngineRefused(status, f"{name} is larger than the engine accepts; start it with --max-upload-size.")
        found = _object(answer)
        if status != 200 or found is None:
            raise EngineRefused(status, f"The engine did not take {name} (HTTP {status}): {_start(answer)}")
        return UploadedFile(found["name"], found.get("subfolder", ""), found.get("type", "input"))

    @asynccontextmanager
    async def view(
        self, filename: str, subfolder: str = "", folder: str = "output"
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a file of a folder (`output`, `temp`, `input`) for reading in chunks. Raises FileMissing."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_STALLED_SECONDS)
        parameters = {"filename": filename, "subfolder": subfolder, "type": folder}
        try:
            async with self.session().get(f"{self.url}/view", params=parameters, timeout=timeout) as response:
                if response.status == 404:
                    raise FileMissing(f"The engine has no file {filename} in its {folder} folder.")
                if response.status != 200:
                    message = f"The engine did not give {filename} (HTTP {response.status})."
                    raise EngineRefused(response.status, message)
                yield response.content.iter_chunked(_CHUNK)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> bytes:
        status, content = await self._exchange(method, path, body, timeout, most_bytes)
        if status != 200:
            hint = " Check the credentials." if status in (401, 403) else ""
            raise EngineRefused(status, f"The engine answered {method} {path} with HTTP {status}.{hint}")
        return content

    async def _exchange(
        self, method: str, path: str, body: bytes | None, timeout: float | None = None, most_bytes: int = MOST_BYTES
    ) -> tuple[int, bytes]:
        try:
            return await self._requests.exchange(
                method,
                path,
                body,
                headers=_JSON if body else None,
                seconds=timeout or _ANSWER_SECONDS,
                connect_seconds=timeout,
                most_bytes=most_bytes,
            )
        except AnswerTooLong as error:
            raise AnswerTooLarge(f"{error}.") from error
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: BaseException) -> EngineUnreachable:
        reason = str(error) or type(error).__name__
        return EngineUnreachable(f"The engine at {self.url} does not answer: {reason}.")


def holds_too_much(content: bytes | str) -> bool:
    """Tell of JSON whether it holds more values than are kept in memory: each takes many times its characters."""
    if len(content) < _MOST_VALUES:
        return False
    data = content.encode(errors="replace") if isinstance(content, str) else content
    # A text may hold any number of these marks, so where there are many the texts are left out.
    return _marks(data) > _MOST_VALUES and _marks(_TEXT.sub(b"", data)) > _MOST_VALUES


def _marks(content: bytes) -> int:
    return sum(content.count(mark) for mark in b"[{,")


def _read(content: bytes, kind: type[_T]) -> _T:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, kind):
        raise EngineRefused(200, "The engine's answer cannot be understood.")
    return value


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _start(content: bytes) -> str:
    return content[:200].decode(errors="replace")
