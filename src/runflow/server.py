"""The server process: its parts, put together once, and the application that serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from runflow import __version__
from runflow.accounts.audit import routes as audit
from runflow.accounts.keys import routes as keys
from runflow.accounts.keys.authenticator import KeyRing
from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.accounts.organizations import routes as orgs
from runflow.assets import routes as assets
from runflow.assets.folders import routes as asset_folders
from runflow.assets.images.drawing_process import DrawingProcess
from runflow.batches import routes as batches
from runflow.billing import routes as billing
from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.deliveries.callbacks import routes as callbacks
from runflow.deliveries.messages import BatchMessages, RunMessages
from runflow.deliveries.secrets import StoredSecrets
from runflow.deliveries.sending.sender import DeliverySender
from runflow.deliveries.webhooks import routes as webhooks
from runflow.evaluations import routes as evaluations
from runflow.evaluations.automatic import AutomaticEvaluations
from runflow.evaluations.runner.runner import EvaluationRunner
from runflow.golden import routes as golden
from runflow.golden.runner import GoldenRunner
from runflow.master_key import MasterKey
from runflow.models import routes as models
from runflow.models.uploads import ModelUploads
from runflow.outgoing.client import GuardedClient
from runflow.overview import routes as overview
from runflow.queue import routes as queue
from runflow.queue.intake import Intake
from runflow.queue.leases import OutputUploads
from runflow.queue.sweeper import Sweeper
from runflow.queue.unfinished import Unfinished
from runflow.queue.waiting_reason import WaitingReasons
from runflow.queue.worker_api import WorkerApi
from runflow.retention.runner import RetentionRunner
from runflow.runs import routes as runs
from runflow.runs.dispatch import Dispatcher
from runflow.runs.history import routes as history
from runflow.runs.openapi import routes as openapi
from runflow.runs.service import RunReader
from runflow.settings import Settings
from runflow.sources import routes as sources
from runflow.sources.startup import approve_settings
from runflow.statistics import routes as statistics
from runflow.storage.choice import open_storage
from runflow.web import exception_handlers, system
from runflow.web import openapi as reference_document
from runflow.web import stored_files as storage
from runflow.web.body import BodyLimit
from runflow.web.context import RequestContext
from runflow.web.cors import allow_every_origin
from runflow.web.idempotency import Idempotency
from runflow.web.rate_limits import RateLimits
from runflow.web.reference import routes as reference
from runflow.web.route_table import RouteTable
from runflow.web.services import Services
from runflow.workers import routes as workers
from runflow.workers.gpus import routes as gpus
from runflow.workflows import routes as workflows
from runflow.workflows.golden import routes as golden_runs
from runflow.workflows.interface import routes as interface
from runflow.workflows.prebuilds import routes as prebuilds
from runflow.workflows.runtime import routes as runtime
from runflow.workflows.version_sources import read_earlier_versions
from runflow.workflows.versions import routes as versions

OUTBOX_SECONDS = 60.0
"""An outbox that was not looked into for so long stands still; its sender looks every 15 seconds."""

DEFAULT_ADDRESS = "http://127.0.0.1:8700"

ROUTERS = (
    queue.router,
    storage.router,
    runs.router,
    history.router,
    system.router,
    reference.router,
    billing.router,
    statistics.router,
    evaluations.router,
    interface.router,
    versions.router,
    prebuilds.router,
    golden_runs.router,
    golden.router,
    runtime.router,
    workflows.router,
    openapi.router,
    batches.router,
    callbacks.router,
    webhooks.router,
    assets.router,
    asset_folders.router,
    models.router,
    orgs.router,
    keys.router,
    audit.router,
    gpus.router,
    workers.router,
    sources.router,
    overview.router,
)
"""In the order in which they are tried, one route after the other: first what every run passes several times; a fixed
second segment below a workflow's id before `{owner}/{slug}`."""

TAGS = (
    workflows.TAG,
    runs.TAG,
    batches.TAG,
    assets.TAG,
    callbacks.TAG,
    webhooks.TAG,
    evaluations.TAG,
    statistics.TAG,
    billing.TAG,
    orgs.TAG,
    gpus.TAG,
    models.TAG,
    workers.TAG,
    sources.TAG,
    storage.TAG,
    system.TAG,
)
"""The groups of routes, in the order in which a reader of the OpenAPI document wants them."""

ROUTES = RouteTable((*(route for router in ROUTERS for route in router.routes), reference_document.SPEC), TAGS)
"""Every route of the API."""
ROUTES.check_scopes(ALL_SCOPES)

CONSEQUENCES = (RunMessages(), BatchMessages(), AutomaticEvaluations())
"""What follows from a run's end, in the order in which the transaction that ends it writes it: rows are locked in the
order run, attempt, lane, fair share, batch."""


@asynccontextmanager
async def build_services(
    settings: Settings, db: Database, key: MasterKey, *, address: str = DEFAULT_ADDRESS
) -> AsyncIterator[Services]:
    """Make the parts of a server process and run what works beside the requests: hints, deliveries, sweeps.

    `address` is where this process is reached when no `RUNFLOW_PUBLIC_URL` says otherwise.
    """
    hub = Hub(db.system_url)
    services = Services(
        settings=settings,
        key=key,
        db=db,
        hub=hub,
        storage=await open_storage(settings, key),
        authenticator=KeyRing(db, hub),
        limits=RateLimits(settings.rate_limit, settings.max_waiting),
        drawing=DrawingProcess(),
        outputs=OutputUploads(db),
        routes=ROUTES,
        base_url=(settings.public_url or address).rstrip("/"),
        consequences=CONSEQUENCES,
    )
    await hub.start()
    await approve_settings(services)
    client = GuardedClient.from_settings(settings)
    background = services.background
    outbox = background.watch("outbox", OUTBOX_SECONDS)
    background.start("outbox", DeliverySender(services, client, StoredSecrets(key), beat=outbox).run)
    background.start("sweeper", Sweeper(services).run)
    background.start("retention", RetentionRunner(services).run)
    background.start("sources", partial(read_earlier_versions, services))
    background.start("evaluations", EvaluationRunner(services, client).run)
    golden_intake = Intake(db, hub, Unfinished(hub))
    background.start("golden runs", GoldenRunner(services, golden_intake).run)
    try:
        yield services
    finally:
        await background.stop()
        await client.close()
        await services.drawing.close()
        await services.storage.close()
        await hub.stop()


def create_app(services: Services) -> ASGIApp:
    """Return the application. From outside to inside: CORS, ids and errors, body limits, idempotency, routes."""
    app = FastAPI(
        title="Runflow API",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A browser does not follow the redirect of a preflight, and a POST may come as a GET.
        redirect_slashes=False,
        routes=[route for router in ROUTERS for route in router.hot_routes],
        middleware=[
            Middleware(RequestContext),
            Middleware(BodyLimit, limit=services.settings.max_body_bytes, routes=ROUTES),
            Middleware(Idempotency, routes=ROUTES),
        ],
    )
    app.state.services = services
    unfinished = Unfinished(services.hub)
    app.state.dispatcher = Dispatcher(services, Intake(services.db, services.hub, unfinished))
    app.state.run_reader = RunReader(services, WaitingReasons(services), unfinished)
    app.state.model_uploads = ModelUploads(services)
    app.state.worker_api = WorkerApi(services, Sweeper(services))
    exception_handlers.install(app, ROUTES, [workflows.meant])
    for router in ROUTERS:
        app.include_router(router.api)
    reference_document.describe(app, ROUTES)
    return allow_every_origin(app)
