"""`runflow comfyui`: install a real ComfyUI, and find out what one can do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from runflow.cli.console import console, fail
from runflow.cli.settings import load_settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.status import Status

    from runflow.worker.engine.check import CheckReport
    from runflow.worker.runtime.install import Installed

app = typer.Typer(
    add_completion=False, help="Install and examine the ComfyUI that runs workflows.", no_args_is_help=True
)


class _TerminalReporter:
    """Says what an installation does, on the terminal or into a log file, and shows transfers as bars."""

    def __init__(self, *, agree: bool) -> None:
        self.interactive = console.is_terminal
        self._agree = agree
        self._bars: Progress | None = None
        self._status: Status | None = None
        self._tasks: dict[str, TaskID] = {}

    def step(self, text: str) -> None:
        self.close()
        console.print(f"[bold]›[/] {escape(text)}", soft_wrap=True)

    def note(self, text: str) -> None:
        self.close()
        console.print(f"  {escape(text)}", style="dim", soft_wrap=True)

    def activity(self, text: str) -> None:
        if not self.interactive:
            return
        if self._status is None:
            self._status = console.status("")
            self._status.start()
        self._status.update(escape(text))

    def progress(self, label: str, done: int, total: int | None) -> None:
        if not self.interactive:
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        if self._bars is None:
            columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bars = Progress(*columns, console=console, transient=True)
            self._bars.start()
        task = self._tasks.get(label)
        if task is None:
            task = self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(task, completed=done, total=total)

    def confirm(self, question: str) -> bool:
        self.close()
        if self._agree:
            console.print(f"  {escape(question)} yes (--yes)", style="dim", soft_wrap=True)
            return True
        return sys.stdin.isatty() and typer.confirm(question, err=True)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}


@app.command()
def install(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder to install into. Default: RUNFLOW_HOME/comfyui.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="ComfyUI release, e.g. 0.30.0.")] = None,
    commit: Annotated[str | None, typer.Option(help="ComfyUI commit; needs a git repository that answers.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Git URL or path of a ComfyUI repository, a folder, or a .tar.gz of one.")
    ] = None,
    cuda: Annotated[
        bool | None, typer.Option("--with-cuda/--cpu", help="Kind of torch. Default: CUDA where an NVIDIA GPU answers.")
    ] = None,
    torch_index: Annotated[
        str | None,
        typer.Option(envvar="RUNFLOW_TORCH_INDEX", help="Package index to take torch, torchvision, torchaudio from."),
    ] = None,
    python: Annotated[str | None, typer.Option(help="Interpreter for ComfyUI's environment. Default: ours.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Also the editor's template media and embedded docs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to a large download.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the installation's record on stdout.")] = False,
) -> None:
    """Install a real ComfyUI with a torch that fits this machine. Safe to repeat; goes on where it was stopped."""
    if version and commit:
        fail("Name a --version or a --commit, not both.")
    # In each command, what it uses: the help waits for none of it.
    import orjson

    from runflow.worker.runtime.commands import InstallError
    from runflow.worker.runtime.install import InstallAsk
    from runflow.worker.runtime.install import install as install_runtime
    from runflow.worker.runtime.source import SourceAsk
    from runflow.worker.runtime.torch_build import Build

    ask = InstallAsk(
        directory=directory or load_settings().comfyui_dir,
        source=SourceAsk(version=version, commit=commit, source=source),
        build=None if cuda is None else (Build.CUDA if cuda else Build.CPU),
        torch_index=torch_index,
        python=python,
        full=full,
    )
    with _reporter(agree=yes) as reporter:
        try:
            installed = install_runtime(ask, reporter)
        except InstallError as error:
            reporter.close()
            fail(str(error))
        except KeyboardInterrupt:
            reporter.close()
            console.print("Stopped. Run the same command again to go on.", soft_wrap=True)
            raise typer.Exit(130) from None
    _tell_installed(installed)
    if as_json:
        typer.echo(orjson.dumps(installed.record).decode())


@app.command()
def check(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="ComfyUI's folder. Default: the one that the worker uses.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of a running ComfyUI instead. Default: RUNFLOW_COMFYUI_URL.")
    ] = None,
    boot: Annotated[bool, typer.Option(help="Start it for a moment to see what it can do.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report on stdout.")] = False,
) -> None:
    """Say what is there, what is missing and what it can do. Exit code 1 when it cannot be used."""
    import asyncio

    import orjson

    from runflow.logs import configure
    from runflow.worker.engine.attached import credential_headers
    from runflow.worker.engine.check import check_folder, check_url
    from runflow.worker.settings import ENGINE_USER_AUTO, ENGINE_USER_SAME

    configure("console", level="critical")
    settings = load_settings()
    address = url or (None if directory else settings.comfyui_url)
    if address:
        report = asyncio.run(check_url(address, credential_headers(os.environ)))
    else:
        folder = directory or settings.comfyui_dir
        user = os.environ.get("RUNFLOW_ENGINE_USER") or ENGINE_USER_AUTO
        if user not in (ENGINE_USER_AUTO, ENGINE_USER_SAME) and not user.isdecimal():
            fail(f"RUNFLOW_ENGINE_USER is a user id, `{ENGINE_USER_SAME}` or `{ENGINE_USER_AUTO}`, not {user!r}.")
        with console.status(f"Starting the ComfyUI in {folder} …") as status:

            def show(seconds: float, line: str) -> None:
                status.update(f"Starting the ComfyUI in {folder} … {seconds:.0f} s  [dim]{escape(line[:80])}[/]")

            report = asyncio.run(check_folder(folder, show, boot=boot, engine_user=user))
    if as_json:
        typer.echo(orjson.dumps(report.to_json()).decode())
    else:
        _tell_report(report)
    if not report.usable:
        raise typer.Exit(1)


@contextmanager
def _reporter(*, agree: bool) -> Iterator[_TerminalReporter]:
    reporter = _TerminalReporter(agree=agree)
    try:
        yield reporter
    finally:
        reporter.close()


def _tell_installed(installed: "Installed") -> None:
    record = installed.record
    where = f"{record.origin}{f' at {record.commit[:12]}' if record.commit else ''}"
    done = "Installed" if installed.fresh else "Already there:"
    console.print(
        f"[bold green]{done}[/] ComfyUI {record.version} in {escape(str(installed.directory))}", soft_wrap=True
    )
    console.print(f"  source   {escape(where)}", soft_wrap=True)
    console.print(f"  Python   {record.python}  {escape(str(installed.python))}", soft_wrap=True)
    torch = f"{record.torch}, torchvision {record.torchvision}, torchaudio {record.torchaudio}"
    module = "  (with our compatibility module)" if record.compatibility_module else ""
    console.print(f"  torch    {torch} from {escape(record.torch_origin)}{module}", soft_wrap=True)


def _tell_report(report: "CheckReport") -> None:
    state = "[bold green]usable[/]" if report.usable else "[bold red]not usable[/]"
    console.print(f"{report.kind.value.capitalize()} ComfyUI at {escape(report.where)}: {state}", soft_wrap=True)
    memory = f", {report.memory_bytes / 2**30:.1f} GiB" if report.memory_bytes else ""
    facts = {
        "version": report.version,
        "Python": report.python,
        "torch": report.torch,
        "device": f"{report.device}{memory}" if report.device else None,
        "nodes": report.node_count,
        "plugin": None if report.plugin is None else ("Runflow nodes loaded" if report.plugin else "no Runflow nodes"),
    }
    for name, value in facts.items():
        if value is not None:
            console.print(f"  {name:9}{escape(str(value))}", soft_wrap=True)
    for ability, text in report.lacking.items():
        console.print(f"  [yellow]lacks[/] {ability}: {escape(text)}", soft_wrap=True)
    if report.plugin is False and report.kind == "attached":
        console.print(
            "  [yellow]lacks[/] the Runflow nodes: install them there with `runflow plugin install`.", soft_wrap=True
        )
    if report.sandbox is not None:
        started = "booted" if report.sandbox.fork_level is None else f"forked (level {report.sandbox.fork_level})"
        console.print(f"  sandbox  {report.sandbox.rung}; engines are {started}", soft_wrap=True)
        if report.sandbox.why_not_better:
            console.print(f"  [dim]why not better: {escape(report.sandbox.why_not_better)}[/]", soft_wrap=True)
    for text in report.isolation:
        console.print(f"  [dim]isolation: {escape(text)}[/]", soft_wrap=True)
    for problem in report.problems:
        console.print(f"  [red]problem[/] {escape(problem)}", soft_wrap=True)
