"""Real hosts for the tests of Auto setup: git over HTTP by git's own backend, model files with ranges and accidents."""

import asyncio
import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

NODE = """
class {name}:
    CATEGORY, RETURN_TYPES, FUNCTION, OUTPUT_NODE = "test", ("STRING",), "give", True

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"text": ("STRING", {{"default": "hello"}})}}}}

    def give(self, text):
        return (text,)


NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""
"""A pack of custom nodes with one class."""


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_GLOBAL": os.devnull, **identity}
    command = [
        "git",
        "-C",
        str(folder),
        "-c",
        "init.defaultBranch=main",
        "-c",
        "protocol.file.allow=always",
        *arguments,
    ]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, files: dict[str, str]) -> str:
    """Write files into a repository, made where it is missing, and commit them. Returns the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "a change")
    return git(folder, "rev-parse", "HEAD")


def archive(folder: Path, commit_: str, top: str) -> bytes:
    """What hosts offer as the archive of a commit."""
    command = ["git", "-C", str(folder), "archive", "--format=tar.gz", f"--prefix={top}/", commit_]
    return subprocess.run(command, capture_output=True, check=True).stdout


def tar(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as opened:
        for name, content in files.items():
            row = tarfile.TarInfo(name)
            row.size = len(content)
            opened.addfile(row, io.BytesIO(content))
    return made.getvalue()


def safetensors(size: int, seed: bytes = b"x") -> bytes:
    """A safetensors file of that size with one tensor."""
    room = 80
    body = size - 8 - room
    head = f'{{"a":{{"dtype":"U8","shape":[{body}],"data_offsets":[0,{body}]}}}}'.ljust(room).encode()
    return room.to_bytes(8, "little") + head + hashlib.shake_256(seed).digest(body)


@dataclass
class Served:
    """One file of a host and what goes wrong with it."""

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    breaks_at: list[int] = field(default_factory=list)
    content_type: str = "application/octet-stream"
    announces: int | None = None
    pause: float = 0
    headers: dict[str, str] = field(default_factory=dict)
    stalls: asyncio.Event | None = None


@dataclass
class Host:
    """A host on loopback. `asked` lists the requests that it got: method, path and Range."""

    repositories: Path
    files: dict[str, Served] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    jsons: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    gives_single_commits: bool = True
    url: str = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked.append((request.method, path, request.headers.get("Range", "")))
        if path in self.redirects:
            return web.Response(status=302, headers={"Location": self.redirects[path]})
        if path in self.jsons:
            return web.json_response(self.jsons[path])
        if path in self.files:
            return await self._file(request, self.files[path])
        if re.search(r"/(info/refs|git-upload-pack)$", path):
            return await self._git(request)
        return web.Response(status=404, text="no such thing")

    async def _file(self, request: web.Request, file: Served) -> web.StreamResponse:
        total = len(file.content) if file.announces is None else file.announces
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        fresh = request.headers.get("If-Range") in (None, file.etag)
        headers = {"Content-Type": file.content_type, **({"ETag": file.etag} if file.etag else {}), **file.headers}
        if asked and file.ranges and fresh:
            first, last = int(asked[1]), min(int(asked[2] or total - 1), total - 1)
            if first >= total:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
            content = file.content[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
            response = web.StreamResponse(status=206, headers=headers)
        else:
            first, content = 0, file.content
            response = web.StreamResponse(headers=headers)
        response.content_length = len(content) if file.announces is None else total - first
        await response.prepare(request)
        probing = bool(asked and asked[2])
        stop = file.breaks_at.pop(0) if file.breaks_at and not probing else None
        for start in range(0, len(content), 1 << 16):
            chunk = content[start : start + (1 << 16)]
            if stop is not None and first + start + len(chunk) > stop:
                await response.write(chunk[: max(0, stop - first - start)])
                for _ in range(10):  # it is taken before the connection goes, however long a pause is
                    await asyncio.sleep(0.005)
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(chunk)
            if file.stalls is not None and not probing:
                await file.stalls.wait()
            if file.pause and not probing:
                await asyncio.sleep(file.pause)
        return response

    async def _git(self, request: web.Request) -> web.StreamResponse:
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        # Protocol 2 gives out any commit, protocol 0 only the tips of branches and tags.
        if self.gives_single_commits and "Git-Protocol" in request.headers:
            env["GIT_PROTOCOL"] = request.headers["Git-Protocol"]
        asked = await request.read()
        output = await asyncio.to_thread(_backend, env, asked)
        head, _, body = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, body=body, headers=headers)


def _backend(environment: dict[str, str], asked: bytes) -> bytes:
    command = ["git", "http-backend"]
    return subprocess.run(command, env=environment, input=asked, capture_output=True, check=True).stdout


@asynccontextmanager
async def serve(host: Host) -> AsyncIterator[Host]:
    """Serve a host on a free port of loopback."""
    server = TestServer(host.application(), host="127.0.0.1")
    await server.start_server(access_log=None)
    host.url = str(server.make_url("")).rstrip("/")
    try:
        yield host
    finally:
        await server.close()
