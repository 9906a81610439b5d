"""The plain wheel: client, command line and worker, without a package of the server's."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runflow import __version__
from runflow.client import Runflow
from runflow.demo import workflow as demo
from runflow.demo.picture import paint
from runflow.extras import DISTRIBUTION, EXTRAS
from tests.packaging.conftest import Built
from tests.packaging.environments import BLOCK, Environment, plain_environment
from tests.support.fake_server import TOKEN, FakeServer
from tests.support.platform_fixtures import Platform, free_port, installation
from tests.support.source import ROOT, server_modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def plain(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return plain_environment(built.wheel, tmp_path_factory.mktemp("plain") / "venv")


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_it_holds_nothing_that_only_an_extra_brings(plain: Environment) -> None:
    of_extras = names([text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra]])
    assert names(PROJECT["dependencies"]) <= plain.names
    assert plain.names & of_extras == set()
    assert len(plain.names) < 40
    listed = plain.run("-c", "from importlib.metadata import distributions as d; print(*[x.name for x in d()])")
    assert {canonicalize_name(name) for name in listed.stdout.split()} == plain.names | {DISTRIBUTION}


def test_all_is_every_extra_and_the_table_of_modules_names_each_package() -> None:
    extras = dict(PROJECT["optional-dependencies"])
    assert PROJECT["name"] == DISTRIBUTION
    assert extras.pop("all") == [f"{DISTRIBUTION}[{','.join(extras)}]"]
    assert extras.keys() == EXTRAS.keys()
    for extra, requirements in extras.items():
        modules = {
            canonicalize_name(name): module
            for module, distributions in packages_distributions().items()
            for name in distributions
            if module in EXTRAS[extra]
        }
        assert names(requirements) - modules.keys() == set()


def test_every_package_that_the_source_imports_is_asked_for() -> None:
    installed = {module: {*map(canonicalize_name, found)} for module, found in packages_distributions().items()}
    plain = {module for module, found in installed.items() if found & names(PROJECT["dependencies"])}
    asked = plain | {module for modules in EXTRAS.values() for module in modules} | {"runflow", "pydantic_core"}
    imported = {
        name.split(".")[0]
        for module in server_modules()
        if not module.name.startswith("worker/runtime/_")  # run inside ComfyUI, or inside pip
        for _, name in module.imports()
    }
    assert (imported & installed.keys()) - asked == set()


def test_nobody_is_told_to_install_a_package_of_somebody_else() -> None:
    """The name `runflow` is taken on the package index."""
    folders = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "src", "plugin", "scripts", "benchmarks")
    files = [path for name in folders for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    told = re.compile(rb"(?:pip|uv|pipx|uvx|tool)\W(?:install|add|run)?\W*runflow\b(?![-_])")
    assert [path.relative_to(ROOT).as_posix() for path in files if told.search(path.read_bytes())] == []


def test_the_command_line_starts_and_tells_the_version(plain: Environment) -> None:
    assert plain.run("-m", "runflow", "--version").stdout == f"runflow {__version__}\n"
    said = plain.run("-m", "runflow", "--help")
    assert said.returncode == 0 and "worker" in said.stdout
    for command in ("worker", "comfyui", "plugin", "login", "logout", "deploy", "run", "runs"):
        done = plain.run("-m", "runflow", command, "--help")
        assert done.returncode == 0, done.stderr


def test_the_commands_that_call_a_server_are_there(plain: Environment, tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "RUNFLOW_HOME": str(tmp_path), "RUNFLOW_URL": f"http://127.0.0.1:{free_port()}"}
    file = tmp_path / "a.json"
    file.write_text("{}")
    for words in ("runs list", "run default/portrait", f"deploy {file}"):
        assert plain.run("-m", "runflow", *words.split(), **variables).returncode == 4
        done = plain.run("-m", "runflow", *words.split(), RUNFLOW_API_KEY="rf_live_x", **variables)
        assert done.returncode == 3 and "Nothing answers" in done.stderr, done.stderr
    assert plain.run("-m", "runflow", "login", HOME=str(tmp_path), RUNFLOW_HOME=str(tmp_path)).returncode == 2


@pytest.mark.parametrize(
    "words", ["up", "demo", "keys create --name x", "orgs list", "gpus list", "budget show default"]
)
def test_a_command_of_the_server_says_what_to_install(plain: Environment, tmp_path: Path, words: str) -> None:
    done = plain.run("-m", "runflow", *words.split(), RUNFLOW_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "pip install 'comfyui-runflow[server]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_a_worker_joins_and_leaves(plain: Environment, server: FakeServer, tmp_path: Path) -> None:
    variables = {"RUNFLOW_HOME": str(tmp_path), "RUNFLOW_WORKER_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(
        *(str(plain.python), "-m", "runflow", "worker", "--server", server.url),
        env={"PATH": "/usr/bin:/bin", **variables},
        cwd="/",
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await server.until(lambda: server.registrations and server.registrations[-1]["status"] == "no_engine")
    finally:
        process.terminate()
        _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


@pytest.fixture(scope="module")
def lean_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A server without its worker, and without what only the worker, judges and buckets need."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCK.format(blocked={"aiohttp", *EXTRAS["s3"], *EXTRAS["evaluate"]}))
    with installation(None, environment={"PYTHONPATH": str(folder)}, arguments=("--no-worker",)) as started:
        yield started


@pytest.mark.e2e
def test_the_plain_wheel_s_worker_does_a_run_for_a_server_that_lacks_the_worker_s_packages(
    plain: Environment, lean_server: Platform, comfyui_dir: Path, tmp_path: Path
) -> None:
    command = [*("-m", "runflow", "keys", "create-worker", "--name", "far", "--json")]
    made = subprocess.run([sys.executable, *command], env=lean_server._env, check=True, stdout=subprocess.PIPE)
    variables = {"RUNFLOW_HOME": str(lean_server.home / "far"), "RUNFLOW_COMFYUI": str(comfyui_dir)}
    variables |= {"RUNFLOW_ALLOWED_NETWORKS": "127.0.0.0/8", "RUNFLOW_WORKER_TOKEN": json.loads(made.stdout)["token"]}
    worker = subprocess.Popen(
        [str(plain.python), "-m", "runflow", "worker", "--server", lean_server.url],
        env={**{name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}, **variables},
        cwd="/",
    )
    try:
        with Runflow(lean_server.url, lean_server.key()) as api:
            path = api.deploy(demo.SLUG, demo.PROMPT, name=demo.NAME)["path"]
            photo = api.upload(paint(tmp_path / "photo.png"))
            run = api.wait(api.submit(path, {"photo": photo, "size": 64})["id"], timeout=300)
            (produced,) = run["output"]["outputs"]
            assert (produced["content_type"], produced["width"]) == ("image/png", 64)
    finally:
        worker.terminate()
        worker.wait(60)
    assert worker.returncode == 0
