"""Versions made to harm whoever builds them: their runs end with what is wrong with them, and other runs go on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from runflow.client import RunFailed, Runflow
from tests.support.http_server import QuietHandler, serving
from tests.support.package_index import build_wheel
from tests.support.repositories import add_module, commit_files
from tests.support.runtime_bench import COMFYUI, FIRST_BUILD_SECONDS, PLAIN, Bench, shown
from tests.support.upscaler import prompt, safetensors

METADATA = "http://169.254.169.254/latest/meta-data/"
LOOKS = """
import os, pathlib, socket, sys
def build_wheel(folder, settings=None, metadata=None):
    got = [name for name in os.environ if name.startswith("RUNFLOW_")]
    for place in {files}:
        try: got += [place] if pathlib.Path(place).read_bytes() else []
        except OSError: pass
    for address in {addresses}:
        try: socket.create_connection(address, 5); got.append(address)
        except OSError: pass
    for place in {folders}:
        try: pathlib.Path(place, "left").touch(); got.append(place)
        except OSError: pass
    for _ in range(20_000): print("again and again" * 20)
    sys.exit(f"FOUND {{got}}")
"""


@dataclass(frozen=True)
class Expected:
    """How a build has to end: at this step, by this pack, with these words in what its run says and in its log."""

    step: str
    pack: str | None
    says: str = ""
    logs: str = ""


@dataclass(frozen=True)
class Attack:
    """What is deployed beside the node of the pack of this name."""

    name: str
    custom_nodes: dict[str, Any]
    expected: Expected
    environment: dict[str, Any] = field(default_factory=dict)


def a_link_out(bench: Bench) -> Attack:
    packs = bench.pack("links", links={"weights": "/etc"})
    return Attack("links", packs, Expected("sources", "links", "the symbolic link 'weights'"))


def a_submodule_from_this_machine(bench: Bench) -> Attack:
    packs = bench.pack("modules")
    packs["modules"]["commit"] = add_module(bench.folder / "modules", "sub", "file:///etc", "1" * 40)
    return Attack("modules", packs, Expected("sources", "modules", "'file:///etc', which does not start with"))


def a_build_that_looks_around(bench: Bench) -> Attack:
    home, worker = bench.platform.home, bench.platform.worker()
    assert worker is not None
    files = [str(home / name) for name in ("worker.token", "secret.key")] + [f"/proc/{worker.pid}/environ"]
    addresses = [("127.0.0.1", bench.platform.port), ("169.254.169.254", 80)]
    folders = [str(one) for one in (home, bench.folder, bench.index, "/usr", "/etc")]
    backend = LOOKS.format(files=files, addresses=addresses, folders=folders)
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    source = bench.folder / "looking"
    commit_files(source, {"pyproject.toml": project, "backend.py": backend})
    packs = bench.pack("curious", requires=f"looking @ git+{source.as_uri()}\n")
    return Attack("curious", packs, Expected("packages", "curious", "looking", "FOUND []"))


def an_index_that_has_another_package(bench: Bench) -> Attack:
    wheel = build_wheel(bench.index, "other", "1.0")
    wheel.rename(bench.index / "shade_mask-1.0-py3-none-any.whl")
    packs = bench.pack("masked", requires="shade-mask\n")
    return Attack("masked", packs, Expected("packages", "masked", "shade-mask", "other-1.0"))


def ten_thousand_packages(bench: Bench) -> Attack:
    packages = [{"name": f"package-{number}", "version": "1.0"} for number in range(10_000)]
    return Attack(
        "many", bench.pack("many"), Expected("manifest", None, "10000 Python packages"), {"packages": packages}
    )


ATTACKS = (
    a_link_out,
    a_submodule_from_this_machine,
    a_build_that_looks_around,
    an_index_that_has_another_package,
    ten_thousand_packages,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=[one.__name__ for one in ATTACKS])
def test_what_would_harm_is_refused_by_name_and_other_runs_go_on(
    bench: Bench, attack: Callable[[Bench], Attack]
) -> None:
    made = attack(bench)
    with Runflow(bench.platform.url, bench.key) as api:
        environment = {"comfyui": COMFYUI, **made.environment}
        deployed = api.deploy(made.name, shown(made.name), custom_nodes=made.custom_nodes, environment=environment)
        hostile = api.submit(deployed["path"], {})
        other = api.submit(api.deploy("plain", PLAIN)["path"], {})
        with pytest.raises(RunFailed) as failed:
            api.wait(hostile["id"], timeout=FIRST_BUILD_SECONDS)
        run = failed.value.run
        assert (run["failure_code"], run["attempt_count"]) == ("RUNTIME_BUILD_FAILED", 1), run["failure_message"]
        (build,) = bench.runtime(deployed["id"])["builds"]
        assert (build["step"], build["pack"]) == (made.expected.step, made.expected.pack), build
        assert made.expected.says in run["failure_message"]
        assert made.expected.logs in build["log"], build["log"]
        assert api.wait(other["id"], timeout=300)["status_code"] == "succeeded"


def test_an_address_that_leads_to_the_machines_own_is_refused(bench: Bench) -> None:
    class Redirects(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", METADATA)
            self.end_headers()

    with Runflow(bench.platform.url, bench.key) as api, serving(Redirects) as host:
        sha256 = hashlib.sha256(safetensors("led-away")).hexdigest()
        models = {"upscale_models/led-away.safetensors": {"url": f"{host}/a", "sha256": sha256}}
        path = api.deploy("led-away", prompt("led-away.safetensors"), models=models)["path"]
        with pytest.raises(RunFailed) as failed:
            api.wait(api.submit(path, {})["id"], timeout=300)
    run = failed.value.run
    assert run["failure_code"] == "MODEL_MISSING"
    assert (
        "led-away.safetensors" in run["failure_message"] and "169.254.169.254 is in a private" in run["failure_message"]
    )
