"""`runflow editor`: the installed ComfyUI in the browser, with the plugin, the server's address and a key filled in."""

import os
import signal
import socket
import subprocess
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from runflow.cli.console import console, fail, say
from runflow.cli.settings import load_settings

if TYPE_CHECKING:
    from runflow.settings import Settings

app = typer.Typer(add_completion=False, help="Open the installed ComfyUI, with plugin, server and key filled in.")

START_SECONDS = 600.0
"""How long ComfyUI may take to answer; its last line is shown meanwhile."""
STOP_SECONDS = 5.0
SCOPES = (
    *("comfyui-workflows:create", "comfyui-workflows:edit", "comfyui-workflows:read"),
    *("assets:create", "runs:create", "runs:read"),
)
"""What the editor's key may do: deploy, and try what was deployed."""


@app.command()
def editor(
    port: Annotated[int, typer.Option(help="Port of the editor, on this machine only.", min=1, max=65535)] = 8188,
    comfyui: Annotated[
        Path | None, typer.Option(help="ComfyUI's folder. Default: the one that the worker uses.", metavar="DIR")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open the installed ComfyUI, with plugin, server and key filled in."""
    # Here, as the help waits for none of it.
    from runflow.background import stop_signals
    from runflow.cli import editor_home
    from runflow.demo.server import running
    from runflow.worker.engine.base import EngineStartFailed
    from runflow.worker.engine.boot import OwnedSettings, find_python

    settings = load_settings()
    folder, base = comfyui or settings.comfyui_dir, settings.home_dir / "editor"
    try:
        python = find_python(OwnedSettings(folder, base))
    except EngineStartFailed as error:
        fail(str(error))
    _require_free(port)
    server = running(settings.home_dir, settings.ca_file)
    chosen = editor_home.chosen_server(base, server)
    target = chosen or server
    if target is None:
        say("No server runs on this home, so Deploy has no target: start one in another terminal with `runflow up`.")
    connection = None
    if server is not None and chosen is None:
        connection = editor_home.Connection(server, _key(settings, base, server))
    arguments = editor_home.prepare(base, folder, connection)
    log_path = base / "comfyui.log"
    command = [str(python), "main.py", *editor_home.options(folder, base, port), *arguments]
    # ComfyUI, in a session of its own, hears nothing of them: it would go on and keep the port.
    for number in stop_signals():
        signal.signal(number, signal.default_int_handler)
    process = _start(command, folder, log_path, settings.home_dir)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(process, port, log_path)
        page = address + editor_home.first_page(base)
        say(f"The editor is at {address}  (what ComfyUI writes: {log_path})")
        if target is not None:
            say(f"Deploy sends to {target}{', which was chosen in Settings' if chosen else ''}.")
        if not browser or not webbrowser.open(page):
            say(f"Open {page}")
        say("Ctrl-C ends it.")
        fail(f"ComfyUI ended with code {process.wait()}. Its last lines:\n{_last_lines(log_path, 15)}")
    except KeyboardInterrupt:
        say("Stopped.")
    finally:
        _stop(process)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            fail(f"Port {port} is in use, perhaps by another ComfyUI. Choose another with --port.")


def _key(settings: "Settings", base: Path, server: str) -> str:
    """Return the editor's own API key, which may deploy and run; made at the first start, and when it was revoked."""
    import httpx

    from runflow.cli import editor_home
    from runflow.cli.keys import make_key
    from runflow.tls import trusting

    stored = editor_home.stored_key(base, server)
    if stored is not None:
        trusted = trusting(httpx.create_ssl_context(), settings.ca_file)
        headers = {"Authorization": f"Bearer {stored}"}
        try:
            answer = httpx.get(f"{server}/v1/auth/me", headers=headers, timeout=10, verify=trusted)
        except httpx.HTTPError:
            return stored
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return stored
    return str(make_key(f"editor on {socket.gethostname()}", SCOPES)["key"])


def _start(command: list[str], folder: Path, log_path: Path, home: Path) -> "subprocess.Popen[bytes]":
    """Start ComfyUI. It gets none of our settings but what the plugin reads: custom nodes see its environment.

    The home is where the plugin looks for a server that is started later.
    """
    kept = ("RUNFLOW_AUTOSETUP_", "RUNFLOW_TRUSTED_", "RUNFLOW_SCAN_")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_") or name.startswith(kept)
    }
    environment["RUNFLOW_HOME"] = str(home)
    with log_path.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(process: "subprocess.Popen[bytes]", port: int, log_path: Path) -> None:
    """Wait until ComfyUI listens, showing what it does."""
    deadline = time.monotonic() + START_SECONDS
    with console.status("Starting ComfyUI …") as status:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                fail(f"ComfyUI ended with code {process.returncode}. Its last lines:\n{_last_lines(log_path, 15)}")
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            status.update(f"Starting ComfyUI …  {escape(_last_lines(log_path, 1)[:80])}")
            time.sleep(0.2)
    fail(f"ComfyUI did not answer within {START_SECONDS:.0f} seconds. Its log: {log_path}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End ComfyUI and what it started; a person's own work is in the page and in files."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_lines(log_path: Path, count: int) -> str:
    return "\n".join(log_path.read_text(errors="replace").rstrip().splitlines()[-count:])
