"""The routes of Deploy: the connection of Settings, and deployments from the press of the button to their end."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aiohttp import web

from .. import cache_use, comfyui
from ..answers import Refused, Routes, read_json
from ..manifest.hashes import Hashes
from ..security.access import require_access
from . import aftermath, connection
from .job import Agreed, DeployJob, prepare, send
from .plan import Machine

_KEPT = 20
_WHAT = "Deploy, which uses your API key,"
_ABOUT_KEY = "what concerns your API key"

ROUTES = Routes()

_jobs: OrderedDict[str, DeployJob] = OrderedDict()


@ROUTES.on("GET", "/runflow/connection")
async def describe_connection(request: web.Request) -> dict[str, Any]:
    """The server's address, those that it could be, the end of the stored key, and its server. Raises Refused."""
    require_access(request, _ABOUT_KEY)
    return await connection.describe(request)


@ROUTES.on("PUT", "/runflow/connection/key")
async def store_key(request: web.Request) -> dict[str, Any]:
    """Store the key in the body, `{"api_key", "api_url"}`, for the request's user and the server at that address.

    Without an address it is for that of Settings.

    Raises:
        Refused: it is no key, or there is no usable address.
    """
    require_access(request, _ABOUT_KEY)
    body = await read_json(request)
    key, url = body.get("api_key"), _text(body, "api_url")
    if not isinstance(key, str) or not key.strip() or len(key) > connection.MAX_KEY:
        raise Refused("Paste an API key, such as rf_live_….", code="INVALID_KEY")
    connection.store(request, key.strip(), url)
    return await connection.describe(request)


@ROUTES.on("DELETE", "/runflow/connection/key")
async def forget_key(request: web.Request) -> dict[str, Any]:
    """Forget the key of the request's user. Raises Refused."""
    require_access(request, _ABOUT_KEY)
    connection.keys().forget(comfyui.user_id(request))
    return await connection.describe(request)


@ROUTES.on("POST", "/runflow/connection/check")
async def check_connection(request: web.Request) -> dict[str, Any]:
    """Say whether the server at `{"api_url"}` is there, knows the stored key and lets it deploy: `{"ok", "message"}`.

    Raises:
        Refused: it is no usable address.
    """
    require_access(request, _ABOUT_KEY)
    url = _text(await read_json(request), "api_url")
    if not url.strip():
        raise Refused("Type the address of a Runflow server; `runflow up` prints that of yours.", code="UNCONFIGURED")
    return (await connection.check(request, url)).describe()


@ROUTES.on("POST", "/runflow/deploy/jobs")
async def start(request: web.Request) -> dict[str, Any]:
    """Prepare a deployment of `{endpoint_name, host, api_key, prompt, graph, client_id}`; nothing is sent yet.

    Raises:
        Refused: there is no key for that server, or no usable address.
    """
    require_access(request, _WHAT)
    body = await read_json(request)
    host, node_key, name = (_text(body, field) for field in ("host", "api_key", "endpoint_name"))
    target = await connection.target(request, host, node_key)
    job = DeployJob(target, _text(body, "client_id") or None)
    _jobs[job.id] = job
    while len(_jobs) > _KEPT:
        _jobs.popitem(last=False)
    machine = Machine(
        comfyui.root_folder(),
        comfyui.input_folder(),
        comfyui.Catalogue(),
        Hashes(comfyui.private_folder() / "hashes.json"),
        cache_use.watched(),
    )
    job.follow(prepare(job, name, body, connection.known_keys(request) | {target.key}, machine))
    return job.describe()


@ROUTES.on("GET", "/runflow/deploy/jobs/{id}")
async def find(request: web.Request) -> dict[str, Any]:
    """A job by the id in the address. Raises Refused."""
    return _job(request).describe()


@ROUTES.on("POST", "/runflow/deploy/jobs/{id}/confirmation")
async def confirm(request: web.Request) -> dict[str, Any]:
    """Send what is ready, after the person saw the summary; the body repeats the origin that was shown, and says with
    `approve`, `prebuild` and `golden` what the person agreed to beside it.

    Raises:
        Refused: the job is not ready, or the origin is another one.
    """
    job, body = _job(request), await read_json(request)
    if job.state != "ready" or job.plan is None:
        raise Refused(f"This deployment is {job.state}. Press Deploy again.", code="CONFLICT", status=409)
    if body.get("origin") != job.target.origin:
        raise Refused("Another server was shown than the one this goes to.", code="CONFLICT", status=409)
    job.move("sending")
    job.follow(send(job, job.plan, Agreed(*(body.get(each) is True for each in ("approve", "prebuild", "golden")))))
    return job.describe()


@ROUTES.on("POST", "/runflow/deploy/jobs/{id}/models")
async def choose_models(request: web.Request) -> dict[str, Any]:
    """Say which of the offered models to upload, `{"paths": […]}`.

    Raises:
        Refused: the job does not wait for that.
    """
    job, paths = _job(request), (await read_json(request)).get("paths")
    job.chosen([str(path) for path in paths] if isinstance(paths, list) else [])
    return job.describe()


@ROUTES.on("GET", "/runflow/deploy/jobs/{id}/aftermath")
async def follow(request: web.Request) -> dict[str, Any]:
    """Say how far the pre-build and the golden run of what a job published are. Raises Refused."""
    job = _job(request)
    return await aftermath.follow(job.target, _published(job))


@ROUTES.on("POST", "/runflow/deploy/jobs/{id}/aftermath/prebuild")
async def prepare_again(request: web.Request) -> dict[str, Any]:
    """Have a machine prepared once more, and say how far that is. Raises Refused."""
    job = _job(request)
    await aftermath.prebuild_again(job.target, _published(job))
    return await aftermath.follow(job.target, _published(job))


@ROUTES.on("POST", "/runflow/deploy/jobs/{id}/aftermath/approval")
async def approve(request: web.Request) -> dict[str, Any]:
    """Approve the code that was shown as waiting, `{"sources": [{"origin", "commit"}]}`. Raises Refused."""
    job = _job(request)
    await aftermath.approve(job.target, (await read_json(request)).get("sources"))
    return await aftermath.follow(job.target, _published(job))


@ROUTES.on("POST", "/runflow/deploy/jobs/{id}/aftermath/cancellation")
async def stop_test(request: web.Request) -> dict[str, Any]:
    """Stop the test of a version that does not serve yet. Raises Refused."""
    job = _job(request)
    await aftermath.stop_test(job.target, _published(job))
    return await aftermath.follow(job.target, _published(job))


@ROUTES.on("DELETE", "/runflow/deploy/jobs/{id}")
async def cancel(request: web.Request) -> dict[str, Any]:
    """Call a deployment off. What the server has accepted already stays."""
    job = _job(request)
    job.cancelled.set()
    if job.state == "ready":
        job.move("cancelled")
    elif job.state in ("preparing", "sending", "choosing") and job.task is not None:
        job.task.cancel()
    return job.describe()


def _job(request: web.Request) -> DeployJob:
    require_access(request, _WHAT)
    job = _jobs.get(request.match_info["id"])
    if job is None:
        raise Refused("This deployment is not known any more. Press Deploy again.", code="NOT_FOUND", status=404)
    return job


def _published(job: DeployJob) -> aftermath.Published:
    if job.published is None:
        raise Refused("This deployment has not published anything.", code="CONFLICT", status=409)
    return job.published


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    return value if isinstance(value, str) else ""
