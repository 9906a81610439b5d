"""`runflow worker`: take runs from a server and execute them on this machine's ComfyUI."""

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from runflow.cli.console import fail
from runflow.cli.settings import load_settings
from runflow.protocol.runtimes import Builds
from runflow.worker.abilities.gpu import NoGpuClass, declared_gpu, detect
from runflow.worker.parent import hear_of_parents_end
from runflow.worker.server_api.credentials import TokenMissing, hide_memory, read_token
from runflow.worker.settings import (
    ENGINE_USER_AUTO,
    ENGINE_USER_SAME,
    SUPERSEDED_EXIT_CODE,
    EngineNetwork,
    Isolation,
    WorkerSettings,
    default_name,
)
from runflow.worker.store.fetch.credentials import Credentials, CredentialsUnusable

if TYPE_CHECKING:
    from runflow.settings import Settings
    from runflow.worker.watchdog import Pulse

app = typer.Typer(add_completion=False, help="Run a worker on this machine.", subcommand_metavar="")

_NOT_FOR_A_WORKER = (
    "RUNFLOW_SECRET_KEY",
    "RUNFLOW_DATABASE_URL",
    "RUNFLOW_STORAGE_ACCESS_KEY",
    "RUNFLOW_STORAGE_SECRET_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@app.callback(invoke_without_command=True)
def worker(
    server: Annotated[str, typer.Option(envvar="RUNFLOW_SERVER", help="Address of the server.")],
    token_file: Annotated[
        Path | None, typer.Option(help="File with the worker token; default: the variable RUNFLOW_WORKER_TOKEN.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of this worker; default: the machine's.")] = None,
    comfyui: Annotated[Path | None, typer.Option(help="Folder of a ComfyUI to start (an owned engine).")] = None,
    comfyui_url: Annotated[str | None, typer.Option(help="URL of a ComfyUI that runs (an attached engine).")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be given several times.")] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            envvar="RUNFLOW_WORKER_GPU",
            metavar="CODE[:GiB]",
            help="GPU class of this worker and its memory, such as L40S:48, A100-MIG-1G.10GB:10, or CPU; default: as "
            "detected.",
        ),
    ] = None,
    engine_user: Annotated[
        str,
        typer.Option(
            envvar="RUNFLOW_ENGINE_USER",
            help="As root, the user id that the engine runs as: a number, `same` (root), or `auto`: one of its own if "
            "it can read the ComfyUI.",
        ),
    ] = ENGINE_USER_AUTO,
    isolation: Annotated[
        Isolation,
        typer.Option(
            envvar="RUNFLOW_ISOLATION",
            help="Whose runs may share one process of the ComfyUI that the worker starts: nobody's (`run`), those of "
            "one organization, or everybody's (`worker`).",
        ),
    ] = Isolation.ORGANIZATION,
    engine_network: Annotated[
        EngineNetwork,
        typer.Option(
            envvar="RUNFLOW_ENGINE_NETWORK",
            help="Whether engines in a sandbox have this machine's network: `on`, `off`, or `auto`: on while the "
            "installation has one organization.",
        ),
    ] = EngineNetwork.AUTO,
    engine_disk_bytes: Annotated[
        int | None,
        typer.Option(
            envvar="RUNFLOW_ENGINE_DISK_BYTES",
            min=1 << 20,
            help="How much one engine may write; default: half of what is free when the worker starts.",
        ),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            envvar="RUNFLOW_WORKER_ALLOW_PICKLE",
            help="Fetch models of formats that can hold code (.ckpt, .pt, .pth, .bin) as well.",
        ),
    ] = False,
    runtime_builds: Annotated[
        Builds,
        typer.Option(
            envvar="RUNFLOW_RUNTIME_BUILDS",
            help="Whether a version whose node classes are missing here gets a ComfyUI of its own, built from what it "
            "was made with: never, of what the operator has approved (`runflow sources`), or always (`on`).",
        ),
    ] = Builds.APPROVED,
    torch_index: Annotated[
        str | None,
        typer.Option(
            envvar="RUNFLOW_TORCH_INDEX",
            help="Package index to take torch of built ComfyUIs from; default: what fits this machine.",
        ),
    ] = None,
    die_with_parent: Annotated[bool, typer.Option("--die-with-parent", help="Stop when the parent stops.")] = False,
) -> None:
    """Take runs from SERVER and execute them on this machine's ComfyUI, until Ctrl-C."""
    from runflow.logs import configure

    configure()
    settings = load_settings()
    configure(settings.log_format)
    if engine_user not in (ENGINE_USER_AUTO, ENGINE_USER_SAME) and not engine_user.isdecimal():
        fail(f"--engine-user is a user id, `{ENGINE_USER_SAME}` or `{ENGINE_USER_AUTO}`, not {engine_user!r}.")
    try:
        declared = declared_gpu(gpu) if gpu is not None else None
    except NoGpuClass as error:
        fail(f"--gpu {error}")
    if comfyui is not None and comfyui_url is not None:
        fail("Give --comfyui or --comfyui-url, not both.")
    try:
        token = read_token(token_file)
    except TokenMissing as missing:
        fail(str(missing))
    for secret in _NOT_FOR_A_WORKER:
        os.environ.pop(secret, None)
    hide_memory()
    chosen = name or default_name()
    worker_settings = WorkerSettings(
        server=server,
        token=token,
        name=chosen,
        home=settings.home_dir / "workers" / (_UNSAFE.sub("-", chosen).strip("-") or "worker"),
        comfyui_dir=(comfyui.expanduser().absolute() if comfyui is not None else settings.comfyui_dir),
        comfyui_url=comfyui_url if comfyui_url is not None or comfyui is not None else settings.comfyui_url,
        engine_user=engine_user,
        isolation=isolation,
        engine_network=engine_network,
        engine_disk_bytes=engine_disk_bytes,
        allow_pickle=allow_pickle,
        store=settings.store_dir,
        store_bytes=settings.store_bytes,
        credentials=_credentials(settings),
        huggingface_endpoint=settings.huggingface_endpoint,
        model_limit=settings.max_model_bytes,
        builds=runtime_builds,
        runtimes=settings.runtimes_dir,
        runtime_bytes=settings.runtime_bytes,
        runtime_days=settings.runtime_days,
        torch_index=torch_index,
        git_origins=tuple(part.strip() for part in settings.git_origins.split(",") if part.strip()),
        labels=_labels(label or []),
        gpu=declared,
        allowed_networks=settings.allowed_networks,
        allowed_origins=(server, *settings.own_origins),
        ca_file=settings.ca_file,
        input_limit=settings.max_upload_bytes,
    )
    _run(settings, worker_settings, with_parent=die_with_parent)


def _run(settings: "Settings", worker_settings: WorkerSettings, *, with_parent: bool) -> NoReturn:
    try:
        parents_end = hear_of_parents_end() if with_parent else None
    except OSError as error:
        fail(str(error))
    from runflow.worker.watchdog import Watchdog  # the help does not wait for what it loads

    Watchdog(
        lambda pulse: _work(settings, worker_settings, pulse),
        hang_seconds=settings.worker_hang_seconds,
        parents_end=parents_end,
    ).run()


def _work(settings: "Settings", worker_settings: WorkerSettings, pulse: "Pulse") -> int:
    """Be the worker, in its own process (watchdog)."""
    # Here, so that neither the help nor the watchdog loads what only a working worker needs.
    import uvloop

    from runflow.background import stop_signals
    from runflow.outgoing import InvalidNetworks, InvalidUrl
    from runflow.worker.agent import Agent
    from runflow.worker.pool.engine_choice import EngineFinder
    from runflow.worker.server_api.connection import ServerRefused, Superseded
    from runflow.worker.watchdog import allow_open_files

    async def work() -> None:
        agent = Agent(
            worker_settings,
            finder,
            gpu=detect(),
            only_we_write=finder.only_we_write,
            on_registered=finder.registered,
            model_folders=finder.model_folders,
            runtimes=finder.runtimes,
        )
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, agent.stop)
        pulse.start(agent.stop)
        try:
            await agent.run()
        finally:
            await finder.close()

    try:
        finder = EngineFinder(worker_settings)
        finder.clear_leftovers()
        allow_open_files()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    except Superseded:
        fail(
            f"Another process works under the name {worker_settings.name!r} now, so this worker ends. "
            "Start one of them under another name (--name).",
            SUPERSEDED_EXIT_CODE,
        )
    except ServerRefused as refusal:
        fail(f"The server {worker_settings.server} refuses this worker: {refusal.message}")
    except InvalidNetworks as error:
        fail(f"RUNFLOW_ALLOWED_NETWORKS: {error}")
    except InvalidUrl as error:
        fail(f"{error} Give --server as http://HOST:PORT or https://HOST.")
    except OSError as error:
        fail(f"The worker cannot use {error.filename or settings.home_dir}: {error.strerror or error}.")
    return 0


def _credentials(settings: "Settings") -> Credentials:
    if settings.download_credentials is None:
        return Credentials()
    try:
        return Credentials.read(settings.download_credentials.expanduser())
    except CredentialsUnusable as error:
        fail(f"RUNFLOW_DOWNLOAD_CREDENTIALS: {error}")


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            fail(f"--label {one!r} is not of the form KEY=VALUE.")
        labels[key.strip()] = value.strip()
    return labels
