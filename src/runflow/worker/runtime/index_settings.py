"""The operator's package index settings, read from pip's and from uv's own places, and handed to the other tool.

pip and uv do not read each other's settings. An operator who configured one of them has said where packages come from;
whichever of the two does the installing must honour it. Values travel in environment variables, never on a command
line, because index URLs may carry credentials.
"""

import configparser
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where packages come from, as one tool was told. Empty means: that tool's defaults."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    no_index: bool = False


def pip_config_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Return pip's configuration files, weakest first, as pip itself looks for them."""
    override = environ.get("PIP_CONFIG_FILE")
    if override == os.devnull:
        return []
    xdg = [Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    user = [home / ".pip/pip.conf", config_home / "pip/pip.conf"]
    if sys.platform == "darwin":
        user.insert(1, home / "Library/Application Support/pip/pip.conf")
    site = Path(sys.prefix) / "pip.conf"
    return [
        *(folder / "pip/pip.conf" for folder in xdg),
        Path("/etc/pip.conf"),
        *user,
        site,
        *([Path(override)] if override else []),
    ]


def read_pip(environ: Mapping[str, str], home: Path) -> IndexSettings:
    """Read what pip would use: its files, then its `PIP_*` variables over them."""
    values: dict[str, str] = {}
    for path in pip_config_files(environ, home):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself will complain about a broken file, with a better message
        for section in ("global", "install"):
            if parser.has_section(section):
                values.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    values.update(
        {key[4:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("PIP_") and value}
    )
    return IndexSettings(
        index_url=values.get("index-url"),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        cert=values.get("cert"),
        no_index=values.get("no-index", "").lower() in {"1", "true", "yes", "on"},
    )


def uv_config_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Return uv's configuration files, weakest first."""
    if environ.get("UV_NO_CONFIG", "").lower() in {"1", "true"}:
        return []
    if override := environ.get("UV_CONFIG_FILE"):
        return [Path(override)]
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    xdg = [Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    return [Path("/etc/uv/uv.toml"), *(folder / "uv/uv.toml" for folder in xdg), config_home / "uv/uv.toml"]


def read_uv(environ: Mapping[str, str], home: Path) -> IndexSettings:
    """Read what uv would use: its files, then its `UV_*` variables over them."""
    index: str | None = None
    extra: list[str] = []
    links: list[str] = []
    no_index = False
    for path in uv_config_files(environ, home):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        table = {**table, **table.get("pip", {})}
        index = table.get("index-url", index)
        no_index = bool(table.get("no-index", no_index))
        extra = [*table.get("extra-index-url", []), *extra]
        links = [*table.get("find-links", []), *links]
        for entry in table.get("index", []):
            if entry.get("default"):
                index = entry["url"]
            elif not entry.get("explicit"):
                extra.append(entry["url"])
    named = [entry.partition("=")[2] or entry for entry in environ.get("UV_INDEX", "").split()]
    return IndexSettings(
        index_url=environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or index,
        extra_index_urls=(*named, *environ.get("UV_EXTRA_INDEX_URL", "").split(), *extra),
        find_links=(*environ.get("UV_FIND_LINKS", "").replace(",", " ").split(), *links),
        trusted_hosts=tuple(environ.get("UV_INSECURE_HOST", "").split()),
        cert=environ.get("SSL_CERT_FILE"),
        no_index=no_index,
    )


@dataclass(frozen=True, slots=True)
class Indexes:
    """Both tools' settings together."""

    pip: IndexSettings
    uv: IndexSettings

    @property
    def find_links(self) -> tuple[str, ...]:
        """Every find-links place that either tool was told and that exists."""
        return _existing(_union(self.pip.find_links, self.uv.find_links))

    @property
    def no_index(self) -> bool:
        """Whether either tool was told to use no index at all."""
        return self.pip.no_index or self.uv.no_index

    @property
    def arguments_for_uv(self) -> tuple[str, ...]:
        """What uv takes on its command line only."""
        return ("--no-index",) if self.no_index else ()

    def environment_for_uv(self) -> dict[str, str]:
        """Return variables that make uv use pip's settings beside its own."""
        env: dict[str, str] = {}
        if self.pip.index_url and not self.uv.index_url:
            env["UV_DEFAULT_INDEX"] = self.pip.index_url
        extra = _existing(_union(self.uv.extra_index_urls, self.pip.extra_index_urls))
        if extra and self.pip.extra_index_urls:
            env["UV_EXTRA_INDEX_URL"] = " ".join(extra)
            env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # what pip's extra indexes mean: all count alike
        if self.find_links:
            env["UV_FIND_LINKS"] = ",".join(self.find_links)
        if self.pip.trusted_hosts and not self.uv.trusted_hosts:
            env["UV_INSECURE_HOST"] = " ".join(self.pip.trusted_hosts)
        if self.pip.cert and not self.uv.cert:
            env["SSL_CERT_FILE"] = self.pip.cert
        return env

    def environment_for_pip(self) -> dict[str, str]:
        """Return variables that make pip use uv's settings beside its own."""
        env: dict[str, str] = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if self.uv.index_url and not self.pip.index_url:
            env["PIP_INDEX_URL"] = self.uv.index_url
        extra = _existing(_union(self.pip.extra_index_urls, self.uv.extra_index_urls))
        if extra or self.pip.extra_index_urls:
            env["PIP_EXTRA_INDEX_URL"] = " ".join(extra)
        if self.find_links or self.pip.find_links:
            env["PIP_FIND_LINKS"] = " ".join(self.find_links)
        if self.uv.trusted_hosts and not self.pip.trusted_hosts:
            env["PIP_TRUSTED_HOST"] = " ".join(self.uv.trusted_hosts)
        if self.uv.cert and not self.pip.cert:
            env["PIP_CERT"] = self.uv.cert
        if self.no_index:
            env["PIP_NO_INDEX"] = "1"
        return env


def read_indexes(environ: Mapping[str, str] | None = None, home: Path | None = None) -> Indexes:
    """Read both tools' settings from the environment and the files of `home` (default: of this process)."""
    environ = os.environ if environ is None else environ
    home = home or Path.home()
    return Indexes(pip=read_pip(environ, home), uv=read_uv(environ, home))


def _union(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))


def _existing(places: Iterable[str]) -> tuple[str, ...]:
    """Leave out local places that are not there: pip skips them, uv refuses to run."""
    return tuple(place for place in places if not _is_missing_path(place))


def _is_missing_path(place: str) -> bool:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return not Path(unquote(parts.path)).exists()
    return not parts.scheme and not Path(place).expanduser().exists()
