"""Client, worker and server each import without what only the others need, and say what lacks where it is needed."""

import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from runflow import extras
from runflow.errors import Unavailable
from runflow.evaluations.limits import EvaluationFailed, FailureCode
from runflow.evaluations.runner.attempt import Bench
from runflow.extras import EXTRAS
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.storage.choice import open_storage
from tests.packaging.environments import BLOCK, required
from tests.support.source import server_modules

EXTRA_MODULES = {module for modules in EXTRAS.values() for module in modules}


def of_rooms(*rooms: str) -> list[str]:
    """Return the modules of these rooms that are imported by name; the rest run inside ComfyUI, or inside pip."""
    names = [module.name for module in server_modules() if module.room in rooms]
    names = [name.removesuffix(".py").removesuffix("/__init__") for name in names if "/_" not in name.replace("__", "")]
    return ["runflow." + name.replace("/", ".") for name in names]


def import_without(modules: list[str], blocked: set[str]) -> None:
    code = BLOCK.format(blocked=blocked) + f"for name in {modules!r}:\n    import_module(name)\n"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_client_needs_httpx_only() -> None:
    needed = {"httpx", *(name for name in required(distribution("httpx")))}
    others = {
        module
        for module, found in packages_distributions().items()
        if not {canonicalize_name(name) for name in found} & needed and module != "runflow"
    }
    assert {"aiohttp", "pydantic", "typer", "fastapi"} <= others
    import_without(of_rooms("client"), others)


def test_the_worker_and_its_commands_need_nothing_of_the_extras() -> None:
    modules = of_rooms("worker", "outgoing", "protocol", "plugin_install", "logs", "settings", "tls")
    assert "runflow.worker.agent" in modules and "runflow.worker.runtime.install" in modules
    import_without([*modules, *(f"runflow.cli.{name}" for name in ("worker", "comfyui", "plugin"))], EXTRA_MODULES)


def test_the_server_needs_neither_the_worker_s_client_nor_the_command_line_s_nor_other_extras() -> None:
    import_without(["runflow.server", "runflow.supervisor"], {"aiohttp", "typer", *EXTRAS["s3"], *EXTRAS["evaluate"]})


async def test_files_in_a_bucket_without_the_extra(monkeypatch: pytest.MonkeyPatch, master_key: MasterKey) -> None:
    monkeypatch.delitem(sys.modules, "runflow.storage.s3_credentials", raising=False)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(Unavailable, match=r"bucket .*pip install 'comfyui-runflow\[s3\]'"):
        await open_storage(Settings(storage_url="s3://files"), master_key)


async def test_judging_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(extras.EXTRAS, "evaluate", ("no_such_module",))
    bench = Bench(files=None, pool=None, vision=None, folder=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(EvaluationFailed, match=r"judges .*pip install 'comfyui-runflow\[evaluate\]'") as failed:
        await bench._found({})
    assert failed.value.code is FailureCode.JUDGING_FAILED
    assert not failed.value.is_final, "another server process may have the judges"


def test_another_module_that_lacks_is_no_matter_of_extras() -> None:
    assert extras.explained(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert extras.explained(ModuleNotFoundError("something")) is None
    assert extras.lacking("server") is None
