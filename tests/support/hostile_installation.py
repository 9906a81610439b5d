"""An installation of a victim, an attacker and a bystander, whose engines hold the hostile pack.

Its ComfyUI is a copy, so that whatever an attack writes into it harms no other test. Around it stand decoys: a process,
services and a file outside of every engine, made for the attacks, so that none of them has to touch what is not ours.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image, PngImagePlugin

from runflow.client import RunFailed, Runflow
from tests.support.e2e_prompts import Prompt, node, output
from tests.support.http_server import QuietHandler, serving
from tests.support.platform_fixtures import Platform, new_home, nodes_folder, remove, until

PACK = Path(__file__).with_name("hostile_pack")
ENGINE_UID = 64_738
RUN_SECONDS = 240
TENANTS = ("victim", "attacker", "bystander")
OPERATOR_VARIABLE = "OPERATOR_CLOUD_CREDENTIAL"
"""A variable of the operator's shell that no engine has to know."""

Loot = dict[str, dict[str, str]]


def canary() -> str:
    """Return a text that nobody can guess, in the form that the pack looks for."""
    return f"CANARY-{secrets.token_hex(16)}"


def picture(path: Path, colour: str, text: str = "") -> Path:
    """Write a small picture, with a text in its metadata."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text)
    Image.new("RGB", (24, 24), colour).save(path, pnginfo=info)
    return path


def attack_prompt() -> Prompt:
    """Runs the attack that the caller names, and returns what it got as JSON."""
    return {
        "1": node("RunflowInputString", input_id="name", display_name="", description="", required=True),
        "2": node("RunflowInputString", input_id="parameters", display_name="", description="", required=True),
        "4": node("RunflowHostile", name=["1", 0], parameters=["2", 0], filename_prefix="loot"),
        "5": node("RunflowOutputFile", output_id="loot", output_name="", value=["4", 0]),
    }


def smuggle_prompt() -> Prompt:
    """The same, and what the pack reports as a second file."""
    smuggled = node("RunflowOutputFile", output_id="smuggled", output_name="", value=["4", 1])
    return {**attack_prompt(), "6": smuggled}


def portrait_prompt() -> Prompt:
    """What a victim runs: a picture goes through, and its node leaves the canary wherever it can."""
    image = node("RunflowInputImage", input_id="photo", display_name="", description="", required=True)
    kept = node("RunflowHostile", name="leave", parameters=["2", 0], filename_prefix="loot")
    return {**attack_prompt(), "3": image, "4": kept, "9": output("3")}


def paint_prompt() -> Prompt:
    """Paints the caller's colour, and returns the picture that lies under the shared name."""
    painted = node("RunflowHostile", name="paint", parameters=["2", 0], filename_prefix="loot")
    return {
        **attack_prompt(),
        "4": painted,
        "9": output("4") | {"inputs": {**output("4")["inputs"], "value": ["4", 2]}},
    }


@dataclass
class Tenant:
    """One organization: its client, and its workflows by name."""

    api: Runflow
    paths: dict[str, str] = field(default_factory=dict)

    def deploy(self, name: str, prompt: Prompt, **more: Any) -> str:
        """Deploy a workflow, once."""
        if name not in self.paths:
            self.paths[name] = str(self.api.deploy(name, prompt, **more)["path"])
        return self.paths[name]

    def run(self, path: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run to the end, whatever it is; a run that failed is returned as well."""
        try:
            run = self.api.submit(path, inputs, wait=60)
            return dict(run if run["status_code"] == "succeeded" else self.api.wait(run["id"], timeout=RUN_SECONDS))
        except RunFailed as failed:
            return dict(failed.run)

    def attack(self, name: str, given: dict[str, Any]) -> Loot:
        """Run one attack of the pack and return what it got."""
        run = self.run(self.deploy("attack", attack_prompt()), {"name": name, "parameters": json.dumps(given)})
        assert run["status_code"] == "succeeded", f"{run['failure_code']}: {run['failure_message']}"
        return loot_of(run)

    def smuggle(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Run one smuggle of the pack; the run with what became of it."""
        return self.run(self.deploy("smuggle", smuggle_prompt()), {"name": name, "parameters": json.dumps(given)})

    def portrait(self, photo: Path, text: str) -> dict[str, Any]:
        """Run the victim's workflow on a picture, with a text."""
        path = self.deploy("portrait", portrait_prompt())
        return self.run(
            path, {"name": "leave", "parameters": json.dumps({"canary": text}), "photo": self.api.upload(photo)}
        )


def loot_of(run: dict[str, Any]) -> Loot:
    """Return what the run's attack wrote."""
    return dict(json.loads(contents(run, "loot")))


def nothing_got(name: str, loot: Loot) -> None:
    """Fail where an attack got something, or tried nothing; the message says which way it took."""
    got = "; ".join(f"{way}: {what[:80]}" for way, what in loot["got"].items())
    assert not got, f"{name} got {got}"
    assert loot["refused"], f"{name} tried nothing"


def contents(run: dict[str, Any], name: str) -> bytes:
    """Return an output's bytes, none where the run has no such output."""
    outputs = (run["output"] or {}).get("outputs") or []
    found = [one for one in outputs if one["output_id"] == name]
    # No TLS: reading the system's authorities for every picture would take longer than the runs.
    return httpx.get(found[0]["url"], timeout=60, verify=False).content if found else b""


@dataclass
class HostileInstallation:
    """A started installation with its tenants and the decoys."""

    platform: Platform
    victim: Tenant
    attacker: Tenant
    bystander: Tenant
    """One more, for whose run an engine of the others has to go: a worker has two at most."""
    decoys: dict[str, Any]
    first: dict[str, Loot] = field(default_factory=dict)
    """What attacks got in the first engine."""

    def given(self, **more: Any) -> dict[str, Any]:
        """Return what an attacker would find out by trying, as of now."""
        # A worker that was just stopped may be found once more, and be gone when it is looked at.
        found: dict[str, Any] = until(lambda: self._look(more), "a worker that stays")
        return found

    def _look(self, more: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return self._found(more)
        except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
            return None

    def _found(self, more: dict[str, Any]) -> dict[str, Any]:
        home = self.platform.home
        worker = until(self.platform.worker, "a worker")
        server = self.platform.server()
        numbers = {"worker_pid": worker.pid, "server_pid": server.pid, "decoy_pid": self.decoys["decoy_pid"]}
        return {
            "home": str(home),
            "comfyui": str(self.platform.comfyui),
            "token_file": str(home / "worker.token"),
            "secret_key": str(home / "secret.key"),
            "closed_folder": str(home / "closed"),
            "server_port": self.platform.port,
            "database_sockets": [str(path) for path in home.rglob(".s.PGSQL.*") if path.is_socket()],
            "database_files": [str(path) for path in (home / "postgres.password", home / "postgres")],
            "stored_files": self.stored_files(),
            "operator_variable": OPERATOR_VARIABLE,
            "namespaces": {kind: namespace(kind, worker.pid) for kind in ("pid", "mnt", "net", "user", "uts")},
            **numbers,
            **{f"{name}_started": started(pid) for name, pid in numbers.items()},
            **self.decoys,
            **more,
        }

    def until_forks(self) -> None:
        """Wait until the worker forks its engines, or has said why it boots each of them."""
        words = ("Engines are forked.", "No fork server.")
        until(lambda: any(word in (self.platform.home / "up.log").read_text() for word in words), "forked engines", 300)

    def stored_files(self) -> list[str]:
        """Return some of the files that the server keeps of its tenants."""
        kinds = ("assets", "thumbnails", "runs")
        below = [
            [path for path in (self.platform.home / "storage" / kind).rglob("*") if path.is_file()] for kind in kinds
        ]
        return [str(path) for found in below for path in found[:1]]


def namespace(kind: str, pid: int) -> str:
    """Return the namespace of a process, or that of the tests where the process lets nobody look."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except PermissionError:
        return str(Path(f"/proc/self/ns/{kind}").readlink())


def started(pid: int) -> str:
    """Return when a process was started, in the kernel's own unit: with its number, that tells processes apart."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def survivors(word: str) -> list[psutil.Process]:
    """Return the processes that an attack left behind, found by the word in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    """End what an attack left behind."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def hostile_installation(
    comfyui: Path, uid: int | None, *, at_import: str | None = None
) -> Iterator[HostileInstallation]:
    """Start everything as root, or as a plain user, with a ComfyUI of `comfyui_copy`; leaves nothing behind.

    `at_import`: what the pack does where it is imported, a file of `hostile_pack/import_time.py`.
    """
    home = new_home()
    environment = {OPERATOR_VARIABLE: canary(), "RUNFLOW_ACCEPT_MODELS": "true", "HOME": str(home)}
    copied_pack(nodes_folder(home))
    if at_import is not None:
        (nodes_folder(home) / "hostile_pack" / at_import).touch()
        # They have none anyway with several organizations; said from the start, nothing is imported twice for it.
        environment["RUNFLOW_ENGINE_NETWORK"] = "off"
    (home / "closed").mkdir(mode=0o700)
    if uid is not None:
        give_folders(home, uid)
    platform = Platform(home, comfyui, environment=environment, uid=uid)
    with decoys(ENGINE_UID if uid is None and os.geteuid() == 0 else uid) as given:
        try:
            platform.start()
            operator = platform.key()
            tenants = [Tenant(Runflow(platform.url, new_key(platform, operator, name))) for name in TENANTS]
            with contextlib.ExitStack() as held:
                for tenant in tenants:
                    held.enter_context(tenant.api)
                victim, attacker, bystander = tenants
                yield HostileInstallation(platform, victim, attacker, bystander, given)
        finally:
            remove(platform)


def new_key(platform: Platform, operator: str, name: str) -> str:
    """Make an organization with the operator's key, and return its first one."""
    headers = {"Authorization": f"Bearer {operator}"}
    body = {"name": name, "slug": name}
    answer = httpx.post(f"{platform.url}/v1/organizations", headers=headers, json=body, timeout=60)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["api_key"]["key"])


@contextlib.contextmanager
def decoys(uid: int | None) -> Iterator[dict[str, Any]]:
    """Put up what attacks may find: a process of the engine's user, services on loopback, a file for everybody."""
    word = f"runflow-decoy-{secrets.token_hex(6)}"
    folder = Path(tempfile.mkdtemp(prefix="runflow-decoy-"))
    folder.chmod(0o755)
    file = folder / "decoy.txt"
    file.write_text(f"{word}\n")
    as_user: dict[str, Any] = (
        {} if uid is None or os.geteuid() != 0 else {"user": uid, "group": uid, "extra_groups": []}
    )
    command = ["/bin/sh", "-c", "sleep 3600 & wait", word]
    process = subprocess.Popen(command, cwd="/", start_new_session=True, **as_user)
    with serving(QuietHandler) as url, echo() as udp_port, abstract(word):
        try:
            yield {
                "decoy_word": word,
                "decoy_file": str(file),
                "decoy_pid": process.pid,
                "decoy_port": int(url.rpartition(":")[2]),
                "decoy_udp_port": udp_port,
                "own_addresses": own_addresses(),
            }
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            shutil.rmtree(folder)


def own_addresses() -> list[str]:
    """Return the addresses of this machine that are not loopback's."""
    addresses = [
        one.address for several in psutil.net_if_addrs().values() for one in several if one.family == socket.AF_INET
    ]
    return [address for address in addresses if not address.startswith("127.")]


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """Serve UDP on loopback: whatever comes goes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    said, sender = server.recvfrom(64)
                    server.sendto(said, sender)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@contextlib.contextmanager
def abstract(word: str) -> Iterator[None]:
    """Listen on an abstract socket of that name, which no file system guards."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{word}")
        server.listen()
        yield


def copied_pack(nodes: Path) -> None:
    """Put the pack among the node packs of an engine: a package, which it is not here."""
    folder = nodes / "hostile_pack"
    shutil.copytree(PACK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    package = folder / "__init__.py"
    package.write_text("from .pack import NODE_CLASS_MAPPINGS\n")
    shutil.copystat(PACK / "pack.py", package)  # so what is found out about forks holds for the next copy


@contextlib.contextmanager
def comfyui_copy(source: Path, uid: int | None) -> Iterator[Path]:
    """Copy a ComfyUI for an installation that root or this user runs; leaves nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="runflow-hostile-"))
    folder.chmod(0o755)
    try:
        yield copied_comfyui(source, folder / "comfyui", uid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copied_comfyui(source: Path, target: Path, uid: int | None) -> Path:
    """Copy a ComfyUI: its own files, while those of its Python packages are the same files in folders of the copy's.

    So an attack may put files into any folder, and change ComfyUI's; a package's file can only be replaced.
    """
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".venv", "venv", ".git"))
    venv = next(path for path in (source / ".venv", source / "venv") if path.is_dir())
    shutil.copytree(venv, target / ".venv", symlinks=True, copy_function=_link)
    if uid is not None and os.geteuid() == 0:
        for root, _, names in os.walk(target):
            os.chown(root, uid, uid)
            if "/.venv" not in root:
                for name in names:
                    os.chown(os.path.join(root, name), uid, uid, follow_symlinks=False)  # noqa: PTH118
        use_python(target / ".venv", uid)
    return target


def use_python(venv: Path, uid: int) -> None:
    """Let a copied environment run on a Python that this user may run, of the same version."""
    python = venv / "bin" / "python"
    if runs(python.resolve(), uid):
        return
    version = python.resolve().name
    other = next(
        (Path(folder, version) for folder in ("/usr/bin", "/usr/local/bin") if runs(Path(folder, version), uid)), None
    )
    assert other is not None, f"a plain user can run no {version} on this machine"
    for name in ("python", "python3", version):
        (venv / "bin" / name).unlink(missing_ok=True)
        (venv / "bin" / name).symlink_to(other)
    config = venv / "pyvenv.cfg"
    config.unlink()
    config.write_text(f"home = {other.parent}\ninclude-system-site-packages = false\n")


def runs(python: Path, uid: int) -> bool:
    """Tell whether a user can run this Python."""
    try:
        command = [str(python), "-c", ""]
        done = subprocess.run(command, cwd="/", user=uid, group=uid, extra_groups=[], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def give_folders(root: Path, uid: int) -> None:
    """Make everything below a folder that user's."""
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118
            os.chown(path, uid, uid)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)
