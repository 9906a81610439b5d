"""An engine that somebody else runs: reached by URL, files through its upload and view routes.

It gives no isolation, and what it does with identical prompts is its own setting: that old files are never delivered
again rests on the output folder of each run, which binding puts into every saving node, so that no two runs have the
same prompt. Files that were uploaded stay in its input folder, because ComfyUI has no call to remove them.
"""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit, urlunsplit

from runflow.worker.engine.base import Ability, EngineDescription, EngineError, EngineKind, OnBoot, OutputRef
from runflow.worker.engine.boundary import OpenedOutput, open_own
from runflow.worker.engine.describe import read_description
from runflow.worker.engine.execution import Execution, OnEvent, Prompt
from runflow.worker.engine.folders import relative_path
from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.engine.session import PromptSession


def credential_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers for RUNFLOW_COMFYUI_TOKEN, or RUNFLOW_COMFYUI_USERNAME and RUNFLOW_COMFYUI_PASSWORD."""
    if token := environ.get("RUNFLOW_COMFYUI_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    username, password = environ.get("RUNFLOW_COMFYUI_USERNAME"), environ.get("RUNFLOW_COMFYUI_PASSWORD")
    if username and password:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def checked_url(url: str) -> str:
    """Return the engine's base URL. Raises EngineError for one that cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise EngineError(f"{url!r} is not the address of a ComfyUI; it looks like http://127.0.0.1:8188.")
    if parts.username or parts.password:
        raise EngineError(
            "The ComfyUI address must not hold credentials. Put them into RUNFLOW_COMFYUI_USERNAME and "
            "RUNFLOW_COMFYUI_PASSWORD, or RUNFLOW_COMFYUI_TOKEN."
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _new_file(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("wb")


def _has_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


class AttachedEngine:
    """A ComfyUI at a URL. `headers` carry its credentials; they are in no log and no message."""

    kind = EngineKind.ATTACHED
    isolates = False
    quick = False

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, unreachable_seconds: float = 30.0
    ) -> None:
        self.url = checked_url(url)
        self._headers = dict(headers or {})
        self._unreachable_seconds = unreachable_seconds
        self._client: ComfyClient | None = None
        self._session: PromptSession | None = None
        self._abilities: frozenset[Ability] = frozenset()
        self._let_go = asyncio.Event()

    @property
    def abilities(self) -> frozenset[Ability]:
        """What this one can do; known after `start`."""
        return self._abilities

    @property
    def alive(self) -> bool:
        """Whether we are connected. An attached engine that is restarted is found again by itself."""
        return self._session is not None

    async def start(self, on_boot: OnBoot | None = None) -> EngineDescription:
        """Connect. Raises EngineUnreachable when nothing answers there, EngineRefused for wrong credentials."""
        await self.stop()
        client = ComfyClient(self.url, headers=self._headers)
        try:
            description = await read_description(client, self.kind)
        except EngineError:
            await client.close()
            raise
        self._abilities = description.abilities
        session = PromptSession(client, unreachable_seconds=self._unreachable_seconds)
        await session.open()
        self._client, self._session = client, session
        self._let_go.clear()
        return description

    async def stop(self) -> None:
        """Let go of it. It goes on running."""
        if self._session is not None:
            await self._session.close()
        if self._client is not None:
            await self._client.close()
        self._session = self._client = None
        self._let_go.set()

    async def wait_dead(self) -> EngineError | None:
        """Wait until we let go of it: that it does not answer for a while is not its death."""
        await self._let_go.wait()
        return None

    async def describe(self) -> EngineDescription:
        """Ask it again what it is."""
        description = await read_description(self._connected()[0], self.kind)
        self._abilities = description.abilities
        return description

    async def settled(self) -> None:
        """Say nothing: nobody starts it."""

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """Return none: its folders are not ours."""
        return ()

    def memory_bytes(self) -> int:
        """Return 0: its process is not ours to look at."""
        return 0

    async def lay_home(self, files: HomeFiles) -> None:
        """Leave its home as it is: it is somebody else's."""

    async def place_input(self, run_folder: str, name: str, path: Path) -> str:
        """Upload a file below the run's folder. Returns the name for a loader node."""
        place = PurePosixPath(relative_path(run_folder), relative_path(name))
        uploaded = await self._connected()[0].upload(path, place.name, str(place.parent))
        return uploaded.input_name

    async def begin(self, run_folder: str) -> None:
        """Do nothing: its files are not ours to remove."""

    async def open_output(self, output: OutputRef, staging: Path) -> OpenedOutput:
        """Download an output to `staging` and open it there. Raises FileMissing."""
        async with self._connected()[0].view(output.filename, output.subfolder, output.type) as chunks:
            file = await asyncio.to_thread(_new_file, staging)
            try:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            finally:
                await asyncio.to_thread(file.close)
        return await asyncio.to_thread(open_own, staging, output.filename)

    def note_run(self, run_id: str | None) -> None:
        """Do nothing: what it prints goes elsewhere."""

    async def execute(
        self,
        prompt: Prompt,
        prompt_id: str,
        on_event: OnEvent | None = None,
        *,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Run one prompt to its end. See PromptSession.execute."""
        return await self._connected()[1].execute(prompt, prompt_id, on_event, extra_data=extra_data)

    async def cancel(self, prompt_id: str, *, timeout: float = 10.0) -> bool:
        """Stop exactly that prompt; whether it is off the engine after `timeout` seconds."""
        return await self._connected()[1].cancel(prompt_id, timeout=timeout)

    async def free(self) -> None:
        """Let it give up its models and what it remembers (`ComfyClient.free`)."""
        await self._connected()[0].free()

    async def clean(self, run_folder: str) -> None:
        """Do nothing: ComfyUI has no call that removes files."""

    def _connected(self) -> tuple[ComfyClient, PromptSession]:
        if self._client is None or self._session is None:
            raise EngineError(f"The engine at {self.url} is not connected; start it first.")
        return self._client, self._session
