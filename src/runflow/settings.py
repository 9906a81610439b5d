"""All settings, read from the environment once and never changed after.

A setting is documented by its description here; `docs/operations.md` is tested against this class.
"""

import os
import re
from decimal import Decimal
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runflow.protocol.origins import canonical, is_commit
from runflow.s3_location import Bucket


def _default_home() -> Path:
    return Path("/var/lib/runflow") if hasattr(os, "geteuid") and os.geteuid() == 0 else Path.home() / ".runflow"


def _days(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "never" else value


Days = Annotated[int | None, Field(ge=1, le=36_500), BeforeValidator(_days)]
"""A number of days, or `never`."""


def _source_keys(value: str) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for one in value.replace(",", " ").split():
        shown = re.sub(r"//[^/]*@", "//…@", one)[:200]  # a password may stand there
        address, _, commit = one.rpartition("@")
        if not is_commit(commit.lower()):
            raise ValueError(
                f"{shown!r} names no commit. Write ORIGIN@COMMIT with all 40 digits of the commit: an address "
                "alone would approve whatever anybody puts there"
            )
        origin = canonical(address)
        if origin is None:
            raise ValueError(
                f"{shown!r} has no address of a repository. Write it as in https://HOST/OWNER/NAME, without a "
                "user, a password, a query or `..`"
            )
        found[origin, commit.lower()] = None
    return list(found)


class Settings(BaseSettings):
    """The installation's settings; each is the environment variable `RUNFLOW_` + its name in upper case."""

    model_config = SettingsConfigDict(env_prefix="RUNFLOW_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(
        default_factory=_default_home,
        description="Folder of everything this installation keeps: database, files, keys, ComfyUI, logs. "
        "Default: ~/.runflow, as root /var/lib/runflow.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL URL (postgresql://user:password@host/database) of a user that may create roles. "
        "Default: an embedded PostgreSQL below the home folder.",
    )
    public_url: str | None = Field(
        default=None,
        description="The address under which clients reach this server, for signed file URLs, e.g. "
        "https://runflow.example.com. Default: the host that a request was sent to.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="Certificate chain (PEM) with which `runflow up` serves https; RUNFLOW_TLS_KEY is its private key.",
    )
    tls_key: Path | None = Field(
        default=None, description="Private key (PEM, without a password) of the certificate in RUNFLOW_TLS_CERT."
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file with certificates that server, worker and demo trust beside the public authorities, "
        "e.g. that of a private authority.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Master key (at least 32 characters) that encrypts stored secrets and signs URLs; the same on "
        "every server process. Default: generated once into the file secret.key of the home folder (mode 0600).",
    )
    comfyui: Path | None = Field(
        default=None,
        description="Folder of an existing ComfyUI that the local worker starts itself (an owned engine). "
        "Default: the folder comfyui below the home folder, made by `runflow comfyui install`.",
    )
    comfyui_url: str | None = Field(
        default=None,
        description="URL of a ComfyUI that already runs (an attached engine); wins over RUNFLOW_COMFYUI.",
    )
    allow_http_inputs: bool = Field(
        default=False, description="Accept http:// URLs as image and file inputs, not only https://."
    )
    allowed_networks: str = Field(
        default="",
        description="Comma-separated CIDRs of private networks that callbacks and inputs may reach, e.g. 10.0.0.0/8. "
        "Default: none; private, loopback and link-local targets are refused.",
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, description="Largest JSON request body, in bytes.", gt=0)
    max_upload_bytes: int = Field(default=50 * 1024 * 1024, description="Largest asset upload, in bytes.", gt=0)
    accept_models: bool = Field(
        default=False,
        description="Let callers who may publish workflows upload models, for the workers to fetch: files of many "
        "gigabytes, in formats that can hold code.",
    )
    max_model_bytes: int = Field(
        default=64 * 1024 * 1024 * 1024,
        description="Largest model upload, in bytes; at most 80,000,000,000, what a bucket takes in our parts.",
        gt=0,
        le=80_000_000_000,
    )
    store: Path | None = Field(
        default=None,
        description="Folder of the models that this machine's workers fetch, one for all of them. "
        "Default: `store` below the home folder.",
    )
    store_bytes: int = Field(
        default=0,
        ge=0,
        description="Most bytes of models in it: what was used longest ago goes first. 0: as much as its disk holds, "
        "but for 1 GiB.",
    )
    runtimes: Path | None = Field(
        default=None,
        description="Folder of the ComfyUIs that this machine's workers build for versions, one for all of them. "
        "Default: `runtimes` below the home folder.",
    )
    runtime_bytes: int = Field(
        default=0,
        ge=0,
        description="Most bytes of them that nothing else shares: what was used longest ago goes first. 0: no limit.",
    )
    runtime_days: float = Field(
        default=30.0, ge=0, description="One that was not used for so many days is removed. 0: none is."
    )
    git_origins: str = Field(
        default="",
        description="Starts of addresses of repositories that builds may fetch from beside `https://`, separated by "
        "commas, such as `ssh://git@git.example.com/`.",
    )
    download_credentials: Path | None = Field(
        default=None,
        description="File with the credentials that workers may show to hosts of models, one a line: "
        "`HOST bearer TOKEN`, `HOST basic USER PASSWORD`, `HOST header NAME VALUE`.",
    )
    huggingface_endpoint: str = Field(
        default="https://huggingface.co",
        pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$",
        description="Where workers fetch files of Hugging Face repositories: the hub, or a mirror with its addresses.",
    )
    max_output_bytes: int = Field(
        default=8 * 1024 * 1024 * 1024, description="Largest single output file of a run, in bytes.", gt=0
    )
    run_timeout_seconds: int = Field(
        default=1800, description="Time limit of a run where its workflow sets none.", gt=0
    )
    max_run_timeout_seconds: int = Field(
        default=86400, description="Largest `timeout_seconds` that a workflow may set.", gt=0
    )
    lease_seconds: int = Field(
        default=20,
        description="A lease that is not renewed for this long is lost, and its run goes to another worker.",
        ge=2,
    )
    storage_url: str | None = Field(
        default=None,
        description="Bucket for files, s3://BUCKET or s3://BUCKET/PREFIX, of Amazon S3 or anything that speaks its "
        "protocol. Default: the folder storage below the home folder.",
    )
    storage_endpoint: str | None = Field(
        default=None,
        description="Address of the service that has the bucket, e.g. https://ACCOUNT.r2.cloudflarestorage.com or "
        "http://minio:9000; clients and workers have to reach it. Default: Amazon S3.",
    )
    storage_region: str | None = Field(
        default=None, description="Region of the bucket. Default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1."
    )
    storage_access_key: SecretStr | None = Field(
        default=None,
        description="Access key of the bucket. Default: what AWS's usual chain finds (environment, profile, role).",
    )
    storage_secret_key: SecretStr | None = Field(default=None, description="Secret key that belongs to it.")
    storage_path_style: bool | None = Field(
        default=None,
        description="Put the bucket's name into the path of its addresses instead of the host. Default: true with an "
        "endpoint, false with Amazon S3.",
    )
    output_retention_days: Days = Field(
        default=30,
        description="Outputs of runs, and files that came inside requests, are removed after this many days, or "
        "`never`.",
    )
    event_retention_days: Days = Field(
        default=7,
        description="Events and logs of runs, and ended deliveries, are removed after so many days, or `never`.",
    )
    run_retention_days: Days = Field(
        default=None, description="Runs are removed with all that belongs to them after this many days, or `never`."
    )
    output_url_seconds: int = Field(
        default=86400, description="How long a signed download URL lives, in seconds.", gt=0
    )
    evaluation_processes: int = Field(
        default=1,
        description="Evaluations judged at the same time by this server process, each in a process of its own that is "
        "started when there is work; 0: leave them to other server processes.",
        ge=0,
        le=64,
    )
    evaluation_price: Decimal = Field(
        default=Decimal(0),
        description="Price of an evaluation that a caller submits, in USD. Automatic ones are free.",
        ge=0,
        lt=10_000,
        decimal_places=6,
    )
    vlm_url: str | None = Field(
        default=None,
        description="Base URL of an endpoint that speaks the OpenAI chat protocol, e.g. http://10.0.0.5:8000/v1; it "
        "may lie in a private network. Default: none, and no vision-language model judges.",
    )
    vlm_api_key: SecretStr | None = Field(
        default=None, description="Sent to the vision-language endpoint as `Authorization: Bearer`."
    )
    vlm_model: str | None = Field(
        default=None, description="Name of the vision-language model; needed with RUNFLOW_VLM_URL."
    )
    vlm_timeout_seconds: float = Field(
        default=60, description="Time limit of one request to the vision-language endpoint, in seconds.", gt=0, le=600
    )
    database_pool: int = Field(
        default=10,
        description="Database connections per server process and role (there are two); half of the API's are for "
        "lists. Half as many again for requests with an Idempotency-Key.",
        ge=2,
    )
    rate_limit: int = Field(
        default=200,
        description="Most requests per second of one API key, on each server process; twice as many at once after a "
        "rest. A key can have a limit of its own. 0: none, and none for wrong tokens either.",
        ge=0,
        le=1_000_000,
    )
    max_waiting: int = Field(
        default=500,
        description="Most event streams and waiting requests (`?wait=`) of an organization at the same time, on each "
        "server process. 0: no limit.",
        ge=0,
    )
    max_connections: int = Field(
        default=4000,
        description="Most connections at the same time, on each server process; as far as the system allows so many "
        "open files. One more takes the place of the one that has waited longest without a request.",
        ge=16,
        le=1_000_000,
    )
    trusted_proxies: str = Field(
        default="",
        description="Comma-separated addresses or CIDRs of the proxies before this server, e.g. 127.0.0.1: who they "
        "say is calling (X-Forwarded-For, X-Forwarded-Proto) is believed. Default: none.",
    )
    max_organizations: int = Field(
        default=1000, description="The operator's API keys make organizations until the installation has so many.", ge=0
    )
    max_api_keys: int = Field(default=1000, description="Most API keys of an organization that still work.", ge=1)
    max_members: int = Field(default=1000, description="Most members of an organization.", ge=0)
    max_asset_folders: int = Field(default=10_000, description="Most asset folders of an organization.", ge=0)
    max_webhooks: int = Field(
        default=100, description="Most webhooks of an organization: each event is written once for each.", ge=0
    )
    approved_sources: str = Field(
        default="",
        description="Code that may be built without asking: `ORIGIN@COMMIT`, several separated by commas or blanks, "
        "e.g. https://github.com/acme/comfyui-grow@ and the 40 digits of a commit. Default: none; `runflow sources "
        "list` shows what waits.",
    )
    max_running: int | None = Field(
        default=None,
        description="Most runs of an organization that workers have at the same time; the others wait. Default: no "
        "limit but the workers. The same for each server process.",
        ge=1,
    )
    max_stored_bytes: int | None = Field(
        default=None,
        description="Most bytes that an organization's uploads and models may have together. Default: no limit. "
        "Outputs do not count; retention removes them.",
        ge=0,
    )
    storage_reserve_bytes: int = Field(
        default=1024 * 1024 * 1024,
        description="Free bytes that files leave on the disk of the home folder, for the database and everything "
        "else; below, uploads are answered as if the disk were full. 0: none.",
        ge=0,
    )
    worker_hang_seconds: float = Field(
        default=30.0,
        ge=0,
        description="A worker whose event loop stands still for so long is ended and started again; 0: never.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="Log lines as `json`, `console`, or `auto` (console on a terminal)."
    )

    @field_validator("public_url", "comfyui_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("it has the form https://HOST or http://HOST:PORT")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        for one in filter(None, (part.strip() for part in value.split(","))):
            try:
                ip_network(one)
            except ValueError as error:
                raise ValueError(f"{error}; name addresses or networks, separated by commas") from None
        return value

    @field_validator("approved_sources")
    @classmethod
    def _check_sources(cls, value: str) -> str:
        _source_keys(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        # Any driver of SQLAlchemy's is taken, as in postgresql+asyncpg://: our own takes its place.
        scheme = value.get_secret_value().partition("://")[0].partition("+")[0] if value is not None else "postgresql"
        if scheme not in ("postgresql", "postgres"):
            raise ValueError("it has the form postgresql://USER:PASSWORD@HOST/DATABASE")
        return value

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        if self.storage_endpoint is not None and self.storage_url is None:
            raise ValueError("RUNFLOW_STORAGE_ENDPOINT needs RUNFLOW_STORAGE_URL, the bucket")
        if (self.storage_access_key is None) != (self.storage_secret_key is None):
            raise ValueError("RUNFLOW_STORAGE_ACCESS_KEY and RUNFLOW_STORAGE_SECRET_KEY belong together")
        try:
            _ = self.bucket
        except ValueError as error:
            raise ValueError(f"RUNFLOW_STORAGE_URL, RUNFLOW_STORAGE_ENDPOINT: {error}") from None
        return self

    @model_validator(mode="after")
    def _check_vision(self) -> Self:
        if self.vlm_url is not None:
            if not self.vlm_url.startswith(("http://", "https://")):
                raise ValueError("RUNFLOW_VLM_URL must begin with http:// or https://")
            if not self.vlm_model:
                raise ValueError("RUNFLOW_VLM_URL needs RUNFLOW_VLM_MODEL, the name of the model")
        return self

    @cached_property
    def bucket(self) -> Bucket | None:
        """The bucket that files are kept in; None where they lie on the local disk."""
        if self.storage_url is None:
            return None
        return Bucket.of(self.storage_url, self.storage_endpoint, self.storage_region, self.storage_path_style)

    @property
    def approved_source_keys(self) -> list[tuple[str, str]]:
        """The sources that are approved by setting, each an origin and a commit."""
        return _source_keys(self.approved_sources)

    @property
    def own_origins(self) -> list[str]:
        """Addresses of this installation itself, which requests to given addresses may reach wherever they lie."""
        return [*([self.public_url] if self.public_url else []), *([self.bucket.origin] if self.bucket else [])]

    @property
    def proxies(self) -> list[str]:
        """The proxies that are believed."""
        return [part.strip() for part in self.trusted_proxies.split(",") if part.strip()]

    @cached_property
    def home_dir(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def storage_dir(self) -> Path:
        """Where local storage keeps files."""
        return self.home_dir / "storage"

    @property
    def store_dir(self) -> Path:
        """The folder of this machine's model store."""
        return (self.store or self.home_dir / "store").expanduser().absolute()

    @property
    def runtimes_dir(self) -> Path:
        """The folder of this machine's runtimes."""
        return (self.runtimes or self.home_dir / "runtimes").expanduser().absolute()

    @property
    def comfyui_dir(self) -> Path:
        """The folder of the owned engine's ComfyUI, whether or not it is there."""
        return (self.comfyui or self.home_dir / "comfyui").expanduser().absolute()
