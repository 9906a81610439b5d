"""The plugin's routes, all below /runflow: one line each, the work is elsewhere. ComfyUI serves them below /api too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .answers import Handler, answered
from .autosetup import routes
from .deploy import connection
from .deploy import job as deploy_job
from .playground import pages as playground_pages
from .playground import routes as playground_routes
from .playground import uploads
from .security import exposure, middleware
from .security import routes as security_routes
from .version import VERSION

ROUTES: list[tuple[str, str, Handler]] = []
"""Method, path and handler of every route."""

MIDDLEWARES: list[Any] = [middleware.ask_for_password, connection.keep_key_out_of_settings]
"""What sees every request of ComfyUI's server, in this order: inside ComfyUI's own middlewares, outside of others'."""


def _on(method: str, path: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        ROUTES.append((method, path, handler))
        return handler

    return add


def add_to(table: web.RouteTableDef) -> None:
    """Add every route to a server's table; all answer in the same way (`answers.answered`)."""
    for method, path, handler in ROUTES:
        table.route(method, path)(answered(handler))


@_on("GET", "/runflow/info")
async def info(_request: web.Request) -> dict[str, Any]:
    """Which plugin this is."""
    return {"version": VERSION}


@_on("GET", "/runflow/connection")
async def get_connection(request: web.Request) -> dict[str, Any]:
    """The server's address and the end of the stored key."""
    return connection.describe(request)


@_on("PUT", "/runflow/connection/key")
async def put_key(request: web.Request) -> dict[str, Any]:
    """Store the API key."""
    return await connection.store_key(request)


@_on("DELETE", "/runflow/connection/key")
async def delete_key(request: web.Request) -> dict[str, Any]:
    """Forget the API key."""
    return connection.forget_key(request)


@_on("POST", "/runflow/deploy/jobs")
async def start_deploy(request: web.Request) -> dict[str, Any]:
    """Prepare a deployment."""
    return await deploy_job.start(request)


@_on("GET", "/runflow/deploy/jobs/{id}")
async def get_deploy(request: web.Request) -> dict[str, Any]:
    """How far a deployment is."""
    return deploy_job.find(request)


@_on("POST", "/runflow/deploy/jobs/{id}/confirmation")
async def confirm_deploy(request: web.Request) -> dict[str, Any]:
    """Send a deployment that the person has seen."""
    return await deploy_job.confirm(request)


@_on("POST", "/runflow/deploy/jobs/{id}/models")
async def choose_models(request: web.Request) -> dict[str, Any]:
    """Say which models to upload."""
    return await deploy_job.choose_models(request)


@_on("DELETE", "/runflow/deploy/jobs/{id}")
async def cancel_deploy(request: web.Request) -> dict[str, Any]:
    """Call a deployment off."""
    return deploy_job.cancel(request)


@_on("POST", "/runflow/playground/captures")
async def capture_workflow(request: web.Request) -> dict[str, Any]:
    """Keep the workflow that the editor shows for its playground."""
    return await playground_routes.capture(request)


@_on("POST", "/runflow/playground/shown")
async def note_shown_workflow(request: web.Request) -> dict[str, Any]:
    """Note what the editor shows now, so that a playground can say that its capture is older."""
    return await playground_routes.shown(request)


@_on("GET", "/runflow/playground/captures/{slug}")
async def get_capture(request: web.Request) -> dict[str, Any]:
    """A captured workflow's interface and age."""
    return await playground_routes.describe(request)


@_on("GET", "/runflow/playground/captures/{slug}/workflow")
async def download_capture(request: web.Request) -> web.StreamResponse:
    """The captured workflow as a file for the editor."""
    return await playground_routes.workflow(request)


@_on("POST", "/runflow/playground/captures/{slug}/recaptures")
async def ask_for_recapture(request: web.Request) -> dict[str, Any]:
    """Ask the editor to capture the workflow again."""
    return await playground_routes.recapture(request)


@_on("GET", "/runflow/playground/captures/{slug}/events")
async def follow_playground(request: web.Request) -> web.StreamResponse:
    """The capture and its runs, and every change of them, as Server-Sent Events."""
    return await playground_routes.events(request)


@_on("GET", "/runflow/playground/captures/{slug}/runs")
async def list_playground_runs(request: web.Request) -> dict[str, Any]:
    """The runs of a captured workflow."""
    return await playground_routes.runs(request)


@_on("POST", "/runflow/playground/captures/{slug}/runs")
async def start_playground_run(request: web.Request) -> dict[str, Any]:
    """Run a captured workflow."""
    return await playground_routes.start(request)


@_on("GET", "/runflow/playground/runs/{id}/preview")
async def get_playground_preview(request: web.Request) -> web.StreamResponse:
    """What the sampler shows of a run that works now."""
    return playground_routes.preview(request)


@_on("POST", "/runflow/playground/runs/{id}/cancellation")
async def cancel_playground_run(request: web.Request) -> dict[str, Any]:
    """Stop exactly one run."""
    return await playground_routes.cancel(request)


@_on("GET", "/runflow/playground/{slug}")
async def get_playground_page(_request: web.Request) -> web.StreamResponse:
    """The playground's page."""
    return playground_pages.page()


@_on("GET", "/runflow/playground/static/{name:.+}")
async def get_playground_file(request: web.Request) -> web.StreamResponse:
    """A file of the playground's page."""
    return playground_pages.static(request.match_info["name"])


@_on("POST", "/runflow/upload-input-file")
async def upload_input_file(request: web.Request) -> dict[str, Any]:
    """Put a file of any type into ComfyUI's input folder."""
    return await uploads.receive(request)


@_on("GET", "/runflow/security")
async def get_security(_request: web.Request) -> dict[str, Any]:
    """Whether password authentication is on."""
    return security_routes.describe()


@_on("PUT", "/runflow/security/password")
async def put_password(request: web.Request) -> dict[str, Any]:
    """Switch password authentication on, or change the account."""
    return await security_routes.store(request)


@_on("DELETE", "/runflow/security/password")
async def delete_password(request: web.Request) -> dict[str, Any]:
    """Switch password authentication off."""
    return await security_routes.switch_off(request)


@_on("POST", "/runflow/security/scans")
async def scan_exposure(request: web.Request) -> dict[str, Any]:
    """Look from where this ComfyUI can be reached."""
    return await exposure.scan(request)


@_on("POST", "/runflow/autosetup/plans")
async def plan_autosetup(request: web.Request) -> dict[str, Any]:
    """What the open workflow needs and this machine lacks."""
    return await routes.plan(request)


@_on("POST", "/runflow/autosetup/jobs")
async def start_autosetup(request: web.Request) -> dict[str, Any]:
    """Install what a person approved of a plan."""
    return await routes.start(request)


@_on("GET", "/runflow/autosetup/jobs/current")
async def get_autosetup(_request: web.Request) -> dict[str, Any]:
    """How far the installation is."""
    return routes.current()


@_on("POST", "/runflow/autosetup/jobs/current/answers")
async def answer_autosetup(request: web.Request) -> dict[str, Any]:
    """Approve packages that only the fetched pack could name, or leave it out."""
    return await routes.answer(request)


@_on("POST", "/runflow/autosetup/jobs/current/cancellation")
async def cancel_autosetup(request: web.Request) -> dict[str, Any]:
    """End the installation."""
    return await routes.cancel(request)


@_on("POST", "/runflow/autosetup/restarts")
async def restart_comfyui(request: web.Request) -> dict[str, Any]:
    """Restart ComfyUI, so that it loads what was installed."""
    return await routes.restart_comfyui(request)
