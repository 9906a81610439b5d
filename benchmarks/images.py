"""Large pictures in and out: how much the platform gains by fetching and storing while the engine computes.

The floor is what one writes by hand for the same ComfyUI: fetch the picture, upload it to the engine, run, fetch the
result, store it, one after the other. Both fetch from the same server and store there.
"""

import argparse
import asyncio
import io
import os
import uuid
from typing import Any

import aiohttp
import orjson
from PIL import Image

from benchmarks.floor import Direct, kept_full
from benchmarks.installation import Running, installation
from benchmarks.workflows import Prompt

OUTPUT = {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "output_name": "", "value": ["1", 0]}}


def passed_on() -> Prompt:
    """A picture that comes in and goes out: reading and writing it is all that the engine does."""
    inputs = {"input_id": "photo", "display_name": "", "description": "", "required": True}
    return {"1": {"class_type": "RunflowInputImage", "inputs": inputs}, "9": OUTPUT}


def noise(side: int) -> bytes:
    """A PNG of `side` pixels square that no compression makes smaller: three bytes per pixel."""
    target = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(target, "PNG", compress_level=0)
    return target.getvalue()


class Caller:
    """A caller of the server, and of the engine behind it."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def asset(self, content: bytes) -> str:
        """Store a file on the server as any caller does, and return its id."""
        body = {"filename": "photo.png", "mime_type": "image/png", "size_bytes": len(content)}
        session = await self.json("POST", "/v1/asset-uploads", body)
        async with self._http.put(session["upload_url"], data=content, headers={"Content-Type": "image/png"}) as answer:
            answer.raise_for_status()
        await self.json("POST", f"/v1/asset-uploads/{session['asset_id']}/confirmations", {})
        return str(session["asset_id"])

    async def through_platform(self, path: str, asset: str) -> None:
        """Run with one call, and see that the output is stored."""
        body = {"input": {"photo": f"runflow://assets/{asset}"}}
        run = await self.json("POST", f"/v1/comfyui-workflows/{path}/runs?wait=60", body)
        if run["status_code"] != "succeeded":
            raise RuntimeError(run["failure_message"] or run["status_code"])

    async def by_hand(self, direct: Direct, url: str) -> None:
        """Fetch, upload, run, fetch, store."""
        content = await _bytes(self._http, url)
        form = aiohttp.FormData()
        form.add_field("image", content, filename=f"{uuid.uuid4().hex}.png", content_type="image/png")
        async with direct.http.post("/upload/image", data=form) as answer:
            name = orjson.loads(await answer.read())["name"]
        prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "9": OUTPUT}
        prompt_id = await direct.run(prompt)
        history = orjson.loads(await _bytes(direct.http, f"/history/{prompt_id}"))
        (made,) = history[prompt_id]["outputs"]["9"]["images"]
        query = f"filename={made['filename']}&subfolder={made['subfolder']}&type={made['type']}"
        await self.asset(await _bytes(direct.http, f"/view?{query}"))

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """Send JSON to the server and return its answer."""
        data = None if body is None else orjson.dumps(body)
        async with self._http.request(method, path, data=data, headers={"Content-Type": "application/json"}) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(content.decode())
            return orjson.loads(content)


async def _bytes(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url) as answer:
        answer.raise_for_status()
        return await answer.read()


async def measure(running: Running, megabytes: int, seconds: float) -> None:
    """Measure and print the runs per minute of both, in turns."""
    content = noise(round((megabytes * 10**6 / 3) ** 0.5))
    headers = {"Authorization": f"Bearer {running.key}"}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(running.url, headers=headers, timeout=timeout) as http:
        caller = Caller(http)
        asset = await caller.asset(content)
        url = (await caller.json("GET", f"/v1/assets/{asset}"))["url"]
        body = {"name": "Passed on", "workflow_json": passed_on()}
        path = (await caller.json("POST", "/v1/comfyui-workflows", body))["path"]
        await caller.through_platform(path, asset)  # waits until the engine is up
        engine = running.engine_socket()
        print(f"\npictures of {len(content) / 10**6:.0f} MB in and out")
        async with Direct(engine) as direct:
            for _ in range(2):
                low = await kept_full(lambda _: caller.by_hand(direct, url), 1, seconds, 0)
                high = await kept_full(lambda _: caller.through_platform(path, asset), 4, seconds, 0)
                print(f"  by hand {low * 60:6.1f} runs/min   platform {high * 60:6.1f} runs/min   x {high / low:.2f}")


def main() -> None:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(prog="scripts/bench images", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20, help="size of the picture")
    parser.add_argument("--seconds", type=float, default=20, help="seconds per figure")
    options = parser.parse_args()
    with installation() as running:
        asyncio.run(measure(running, options.megabytes, options.seconds))


if __name__ == "__main__":
    main()
