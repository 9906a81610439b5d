"""All settings, read from the environment once and never changed after.

A setting is documented by its description here; `docs/operations.md` is tested against this class.
"""

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _default_home() -> Path:
    return Path("/var/lib/runflow") if hasattr(os, "geteuid") and os.geteuid() == 0 else Path.home() / ".runflow"


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
    output_url_seconds: int = Field(
        default=86400, description="How long a signed download URL lives, in seconds.", gt=0
    )
    database_pool: int = Field(
        default=10,
        description="Database connections per server process and role (there are two), half for the hot path.",
        ge=2,
    )
    log_format: str = Field(
        default="auto", description="Log lines as `json`, `console`, or `auto` (console on a terminal)."
    )

    @cached_property
    def home_dir(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def storage_dir(self) -> Path:
        """Where local storage keeps files."""
        return self.home_dir / "storage"

    @property
    def comfyui_dir(self) -> Path:
        """The folder of the owned engine's ComfyUI, whether or not it is there."""
        return (self.comfyui or self.home_dir / "comfyui").expanduser().absolute()
