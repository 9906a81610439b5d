"""Talking to a Runflow server: the requests of a deployment, and in words what a person can do about a failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from ..manifest.resources import InputFile
from ..unreachable import why_unreachable
from ..version import VERSION
from .target import Target, origin_of

_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=20, sock_read=120)
_CLEAN_UP_SECONDS = 10.0
_MOST_LOOKED_UP = 1000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NEXT = {
    401: "The API key is missing, revoked, or for another server. Make a new one there and save it in Settings > "
    "Runflow > Connection.",
    403: "Give the key the scopes comfyui-workflows:read, comfyui-workflows:create and comfyui-workflows:edit.",
    413: "The server takes no request of this size; its operator can raise the limit.",
    429: "The server asks for a pause. Wait a minute and deploy again.",
}


class DeployFailed(Exception):
    """A deployment failed; the message names the stage, the cause in the server's words, and the next step.

    `refused`: the server said so, so that nothing came of it. Without an answer nobody knows. `status` and `code` are
    those of the answer, `code` only of one in the form of ours. `unreachable`: there was no answer at all.
    """

    def __init__(
        self,
        stage: str,
        cause: str,
        next_step: str = "",
        *,
        refused: bool = False,
        status: int | None = None,
        code: str | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(f"{stage} failed — {cause}" + (f"\n{next_step}" if next_step else ""))
        self.cause = cause
        self.next_step = next_step
        self.refused = refused
        self.status = status
        self.code = code
        self.unreachable = unreachable


class Platform:
    """The server of one deployment. Redirects are not followed: the key is meant for one address."""

    def __init__(self, target: Target, *, answer_seconds: float | None = None) -> None:
        """Prepare; nothing is sent yet. `answer_seconds`: how long an answer may take, instead of two minutes."""
        self._target = target
        self._answer_seconds = answer_seconds
        # A proxy of the environment is not asked for addresses of this machine.
        proxied = urlsplit(target.base).hostname not in _LOOPBACK
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=proxied)

    async def __aenter__(self) -> Platform:
        """Use it for one deployment."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def find(self, slug: str) -> dict[str, Any] | None:
        """The workflow with this slug, or None. Raises DeployFailed("lookup")."""
        query = quote(f"slug.eq:'{slug}'", safe="")
        listed = await self.ask("lookup", "GET", f"/v1/comfyui-workflows?q={query}&limit=1")
        items = listed.get("items")
        if not isinstance(items, list):
            raise DeployFailed("lookup", f"{self._target.base} does not answer like a Runflow server.", _CHECK_URL)
        return items[0] if items and isinstance(items[0], dict) else None

    async def resources(self, existing: Mapping[str, Any]) -> dict[str, Any]:
        """The resources of a workflow's version, which lists leave out. Raises DeployFailed("lookup")."""
        whole = await self.ask("lookup", "GET", f"/v1/comfyui-workflows/{quote(str(existing.get('id')), safe='')}")
        resources = whole.get("resources")
        return resources if isinstance(resources, dict) else {}

    async def save(self, existing: Mapping[str, Any] | None, slug: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create the workflow, or give the existing one a new version. Raises DeployFailed("deploy")."""
        if existing is None:
            return await self.ask("deploy", "POST", "/v1/comfyui-workflows", {"slug": slug, **body})
        place = quote(str(existing.get("id")), safe="")
        return await self.ask("deploy", "PATCH", f"/v1/comfyui-workflows/{place}", body)

    async def upload(self, file: InputFile) -> dict[str, Any]:
        """Upload a file and return its asset. Raises DeployFailed("upload of …")."""
        stage = f"upload of {file.path}"
        declared = {"filename": file.place.name, "mime_type": file.mime_type, "size_bytes": file.size_bytes}
        session = await self.ask(stage, "POST", "/v1/asset-uploads", declared)
        asset_id, url = session.get("asset_id"), session.get("upload_url")
        if not isinstance(asset_id, str) or not isinstance(url, str):
            raise DeployFailed(stage, "the server named no place to upload to.")
        await self._put(stage, url, file)
        place = quote(asset_id, safe="")
        confirmed = await self.ask(stage, "POST", f"/v1/asset-uploads/{place}/confirmations", {})
        return {"asset_id": asset_id, "url": confirmed.get("url")}

    async def known_files(self, contents: Iterable[tuple[str, int]]) -> dict[str, dict[str, Any]]:
        """The assets, by SHA-256, that the server has of these contents (SHA-256 and size): none to send again."""
        items = [{"sha256": sha256, "size_bytes": size} for sha256, size in contents][:_MOST_LOOKED_UP]
        try:
            answer = await self.ask("lookup", "POST", "/v1/asset-lookups", {"items": items})
        except DeployFailed:
            return {}  # another server, or an older one: it gets every file
        rows = answer.get("items")
        found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return {
            str(row.get("sha256")): {"asset_id": row["asset_id"], "url": row.get("url")}
            for row in found
            if isinstance(row.get("asset_id"), str)
        }

    async def has_asset(self, asset_id: str) -> bool:
        """Whether the server still has an asset, as far as this key may know."""
        try:
            await self.ask("lookup", "GET", f"/v1/assets/{quote(asset_id, safe='')}")
        except DeployFailed:
            return False
        return True

    async def drop_asset(self, asset_id: str) -> None:
        """Delete an asset that nothing will use, if this key may."""
        try:
            place = quote(asset_id, safe="")
            await self.ask("clean-up", "DELETE", f"/v1/assets/{place}", answer_seconds=_CLEAN_UP_SECONDS)
        except DeployFailed:
            return

    async def _put(self, stage: str, url: str, file: InputFile) -> None:
        # The address itself is the permission: it gets no key.
        headers = {"Content-Type": file.mime_type, "Content-Length": str(file.size_bytes)}
        try:
            content = file.place.open("rb")
        except OSError as error:
            cause = f"{file.place} cannot be read: {error.strerror or error}."
            raise DeployFailed(stage, cause, "Deploy again.") from error
        try:
            with content:
                async with self._session.put(url, data=content, headers=headers, allow_redirects=False) as answer:
                    if answer.status not in (200, 201, 204):
                        raise DeployFailed(stage, explain(answer.status, await answer.read()), refused=True)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            cause = f"{_origin(url)}, where the server has files sent to, could not be reached: {_words(error)}"
            step = "ComfyUI's machine sends them there itself, so it has to reach that address, too."
            raise DeployFailed(stage, cause, step, unreachable=True) from error

    async def ask(
        self,
        stage: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        answer_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send a request with the key and a JSON body, and read the object that comes back.

        `answer_seconds`: how long the answer may take, instead of two minutes. Raises DeployFailed.
        """
        headers, data = {}, None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = await asyncio.to_thread(lambda: json.dumps(body).encode())
        return await self.send(stage, method, path, data, headers, answer_seconds=answer_seconds)

    async def send(
        self,
        stage: str,
        method: str,
        path: str,
        data: Any,
        headers: Mapping[str, str],
        *,
        answer_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send a request with the key and any body, and read the object that comes back. Raises DeployFailed."""
        content = await self._exchange(stage, method, path, data, headers, answer_seconds)
        try:
            read = json.loads(content) if content else {}
        except ValueError:
            raise DeployFailed(stage, f"{self._target.base} does not answer with JSON.", _CHECK_URL) from None
        return read if isinstance(read, dict) else {}

    async def content(self, stage: str, path: str) -> bytes:
        """Read what stands at a path. Raises DeployFailed."""
        return await self._exchange(stage, "GET", path, None, {}, None)

    async def _exchange(
        self, stage: str, method: str, path: str, data: Any, headers: Mapping[str, str], answer_seconds: float | None
    ) -> bytes:
        key = self._target.key
        own = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        own["User-Agent"] = f"ComfyUI-Runflow/{VERSION}"
        url = self._target.base + path
        answer_seconds = self._answer_seconds if answer_seconds is None else answer_seconds
        timeout = _TIMEOUT if answer_seconds is None else aiohttp.ClientTimeout(connect=20, sock_read=answer_seconds)
        try:
            async with self._session.request(
                method, url, data=data, headers={**own, **headers}, allow_redirects=False, timeout=timeout
            ) as answer:
                content, status = await answer.read(), answer.status
                place = answer.headers.get("Location", "")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            step, cause = f"Is the server running? {_CHECK_URL}", f"{self._target.base} could not be reached"
            raise DeployFailed(stage, f"{cause}: {_words(error)}", step, unreachable=True) from error
        if 300 <= status < 400:
            cause = f"{self._target.base} answers with a redirect to {place[:200]}"
            raise DeployFailed(stage, cause, _after_redirect(url, place), status=status)
        if status >= 400:
            cause, step, envelope = explain(status, content), _NEXT.get(status, ""), _envelope(content)
            if status in _NOBODY_OF_OURS and envelope is None:
                cause, step = f"{self._target.base} does not answer like a Runflow server ({cause}).", _CHECK_URL
            code = None if envelope is None else str(envelope.get("code") or "")
            raise DeployFailed(stage, cause, step, refused=status < 500, status=status, code=code)
        return content


# What other servers say to a path or a method that they do not have.
_NOBODY_OF_OURS = (404, 405, 501)
_CHECK_URL = "Check API URL in Settings > Runflow > Connection."


def explain(status: int, content: bytes) -> str:
    """The cause of a refusal in the server's own words: code, message, and its first error with its place."""
    envelope = _envelope(content)
    if envelope is None:
        text = content.decode("utf-8", "replace").strip()
        return f"HTTP {status}" + (f": {text[:200]}" if text and not text.startswith("<") else "")
    code = envelope.get("code") or f"HTTP {status}"
    cause = f"{code}: {envelope['message']}"
    errors = envelope.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    if first is not None and first.get("msg"):
        place = first.get("loc")
        where = ".".join(map(str, place)) if isinstance(place, list) else str(place or "")
        cause += f" ({where}: {first['msg']})" if where else f" ({first['msg']})"
    return cause


def _after_redirect(url: str, place: str) -> str:
    """What to do about a redirect: most often a server that speaks https alone was asked by http."""
    is_https_there = place.startswith("https://") and urlsplit(place).hostname == urlsplit(url).hostname
    return "Did you mean https:// instead of http://?" if is_https_there and url.startswith("http://") else _CHECK_URL


def _envelope(content: bytes) -> dict[str, Any] | None:
    """The server's envelope; None where another program answered."""
    try:
        envelope = json.loads(content)
    except ValueError:
        return None
    return envelope if isinstance(envelope, dict) and envelope.get("message") else None


def _origin(url: str) -> str:
    """The place of an address that nobody else may see: what follows is a permission."""
    try:
        return origin_of(url)
    except ValueError:
        return "The address"


def _words(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.InvalidURL):
        return "its address is not valid"
    return why_unreachable(error)
