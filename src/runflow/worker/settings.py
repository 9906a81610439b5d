"""How a worker is set up."""

import socket
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from runflow.protocol.runtimes import Builds
from runflow.protocol.workers import Gpu
from runflow.worker.store.fetch.credentials import Credentials

ENGINE_USER_AUTO = "auto"
ENGINE_USER_SAME = "same"


class Isolation(StrEnum):
    """Whose runs may share one process of an engine that the worker starts (`RUNFLOW_ISOLATION`)."""

    RUN = "run"
    """Nobody's: each run gets a fresh one."""
    ORGANIZATION = "organization"
    """Those of one organization."""
    WORKER = "worker"
    """Everybody's: the operator trusts all who have an organization here."""

    def domain_of(self, lease_id: str, organization: str) -> str:
        """Return the domain of a run, by its lease and by its organization: only runs of one domain share an engine."""
        return {Isolation.RUN: lease_id, Isolation.ORGANIZATION: organization, Isolation.WORKER: ""}[self]


class EngineNetwork(StrEnum):
    """Whether engines have the machine's network, where a sandbox can keep it from them."""

    AUTO = "auto"
    """On while the installation has one organization: many node packs fetch files of their own."""
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `hold`: how long a run may wait here behind another one before it is given back. `engine`: how
    long a run waits for an engine that is being started. `stop`: how long a prompt may take to obey an interrupt."""

    hold: float = 30.0
    engine: float = 10.0
    stop: float = 10.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One worker. Times in seconds, sizes in bytes.

    `home` is the worker's own folder: files in preparation, kept resources, the engine's base folder. `comfyui_url`
    (an attached engine) wins over `comfyui_dir` (an owned one). `engine_user`: `auto`, `same`, or a user id (see
    engine_choice). `input_limit` bounds a caller's URL; assets were bounded when they were uploaded.
    """

    server: str
    token: str = field(repr=False)
    name: str
    home: Path
    comfyui_dir: Path
    comfyui_url: str | None = None
    engine_user: str = ENGINE_USER_AUTO
    engine_network: EngineNetwork = EngineNetwork.AUTO
    engine_disk_bytes: int | None = None
    """How much one engine may write; None: half of what is free when the worker starts."""
    isolation: Isolation = Isolation.ORGANIZATION
    labels: dict[str, str] = field(default_factory=dict)
    gpu: Gpu | None = None
    """Its class as the operator declares it; None: as detected."""
    allowed_networks: str = ""
    allowed_origins: tuple[str, ...] = ()
    ca_file: Path | None = None
    """Certificates to trust beside the public authorities: of the server, and of where inputs come from."""
    input_limit: int = 50 * 1024 * 1024
    input_timeout: float = 300.0
    patience: float = 600.0
    """How long a server that is away is waited for with a result in hand."""
    allow_pickle: bool = False
    """Fetch models of formats that can hold code, too."""
    store: Path | None = None
    """The machine's model store; None: one in `home`."""
    store_bytes: int = 0
    """Most that it keeps, 0: as much as its disk holds."""
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    """What may be shown to the hosts of models."""
    huggingface_endpoint: str = "https://huggingface.co"
    """Where files of Hugging Face repositories are fetched."""
    model_limit: int = 64 * 1024**3
    """Most bytes of a model that an address sends."""
    builds: Builds = Builds.OFF
    """Whether runtimes are built for versions that the worker's own ComfyUI has not everything for."""
    runtimes: Path | None = None
    """Where the machine's runtimes are; None: in `home`."""
    runtime_bytes: int = 0
    """Most that runtimes keep, 0: as much as their disk holds."""
    runtime_days: float = 30.0
    """A runtime that was not used for so long is removed; 0: none is."""
    torch_index: str | None = None
    """The package index that torch of built runtimes comes from; None: what fits the machine."""
    git_origins: tuple[str, ...] = ()
    """Starts of addresses of repositories that builds may use beside `https://`."""
    grace: float = 4.0
    """How long a stopping worker lets runs finish, and then again lets them say goodbye."""
    limits: Limits = field(default_factory=Limits)


SUPERSEDED_EXIT_CODE = 5
"""Of a worker that ended because another process has its name: starting it again would take the name back."""


def default_name() -> str:
    """Return the name of a worker that was given none: its machine's."""
    return socket.gethostname() or "worker"
