"""The files of runs in an engine's folders: placed, opened, and gone when no run needs them.

A run's own folders go with it. What it left beside them, through a `filename_prefix` that binding could not put below
its folder or through a node with its own mind, goes by one rule: once every run that was here when a file was last
changed has ended. What is there before the first run (folders that nodes made as they loaded) is the engine's own.
"""

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from runflow.worker.engine.base import EngineError, FileMissing, OutputRef
from runflow.worker.engine.boundary import NO_FOLDER, Budget, BudgetSpent, Folder, NotAFile, OpenedOutput
from runflow.worker.engine.folders import relative_path
from runflow.worker.engine.forks.imported import ImportRecord
from runflow.worker.engine.home_files import HomeFiles, lay

log = structlog.get_logger(__name__)

FOLDERS = ("input", "output", "temp", "user", "home", "tmp")
"""What an engine writes to. Its database and caches, in the last three, live as long as it does."""
OF_RUNS = ("input", "output", "temp")

TMP_SECONDS = 600.0
"""How long a file in `tmp` is untouched before it counts as left behind: libraries keep files there between runs."""

_SWEPT = (*OF_RUNS, "tmp")
_CACHES = ("torchinductor_", "pymp-")
"""What libraries keep in `tmp` for as long as the process lives."""
_CLEAN_ENTRIES = 200_000
_CLEAN_SECONDS = 10.0
"""What is left of a run with more than that goes when no run is here, or with the engine."""
_SWEEP_ENTRIES = 20_000
_SWEEP_SECONDS = 2.0
_COARSE_SECONDS = 1.0
"""File times may be behind the clock by a few milliseconds; a clock that was set differs by more than this."""
_ENTRY_BYTES = 512
_MOVED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR})


class Usage(NamedTuple):
    """What an engine's folders take. `is_whole` is False where there is more, or deeper, than was looked at."""

    size_bytes: int
    entries: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Began:
    wall: float
    monotonic: float


class RunFiles:
    """The only way to what one life of an engine writes. `root` is ours and holds its `FOLDERS`.

    As root, `uid` is the engine's user, to whom they and what is placed in them belong. Every method works on the disk,
    and so in a thread; several may at once.
    """

    def __init__(self, root: Path, *, uid: int | None) -> None:
        self.root = root.resolve()
        self._uid = uid
        self._guard = threading.Lock()
        """Held while a run begins, and while a folder that may be anybody's is removed."""
        self._placing = threading.Lock()
        self._laying = threading.Lock()
        self._laid: dict[str, str] = {}
        self._active: dict[str, _Began] = {}
        self._placed: dict[str, tuple[int, int]] = {}
        self._run_parents: set[str] = set()
        self._own: set[str] | None = None

    def make(self) -> None:
        """Make the folders, closed to other users whatever the umask says. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Folder.at(self.root) as root:
            # It stays ours: whoever owns it could replace what lies beside the folders.
            root.let_in(self._uid)
            for name in FOLDERS:
                with root.make(name, self._uid) as folder:
                    folder.hand_over(self._uid)

    def begin(self, run_folder: str, *, wait: bool = True) -> bool:
        """Note that a run is here until `clean`. Without `wait`, returns False where that would take a moment."""
        run = relative_path(run_folder)
        if not self._guard.acquire(blocking=wait):
            return False
        try:
            if self._own is None:
                if not wait:
                    return False
                self._own = self._look()
            self._run_parents.update(_parents(run))
            self._active[run] = _Began(time.time(), time.monotonic())
        finally:
            self._guard.release()
        return True

    def place_input(self, run_folder: str, name: str, source: Path) -> str:
        """Copy a file of ours below the run's folder in `input`; return the name for a loader node.

        A copy and not a link: custom nodes may write to their inputs, and the file may be other runs' too. Raises
        EngineError for a path that leaves the folder, OSError where it cannot be written.
        """
        run, within = relative_path(run_folder), relative_path(name)
        *folders, last = within.split("/")
        try:
            with contextlib.ExitStack() as held:
                with self._placing:
                    folder = self._input_folder(run, held)
                    for part in folders:
                        folder = held.enter_context(folder.make(part, self._uid))
                folder.copy_in(source, last, self._uid)
        except OSError as error:
            if error.errno not in NO_FOLDER:
                raise
            raise EngineError("The engine's input folder is no folder any more: a node replaced it.") from error
        return f"{run}/{within}"

    def lay_home(self, files: HomeFiles) -> None:
        """Have the engine's home hold these links and texts, as far as it does not yet. Raises OSError.

        They stay as long as the engine. What it makes of them, in its own home, concerns nobody else.
        """
        with self._laying:
            links = {path: to for path, to in files.links.items() if not self._is_laid(path, to)}
            texts = {path: text for path, text in files.texts.items() if not self._is_laid(path, text)}
            if links or texts:
                with Folder.at(self.root) as root:
                    lay(root, HomeFiles(links, texts), self._uid)
                self._laid |= links | texts

    def _is_laid(self, path: str, what: str) -> bool:
        return self._laid.get(path) == what and os.path.lexists(self.root / path)

    def open_output(self, output: OutputRef) -> OpenedOutput:
        """Open a file that a node reported. Raises FileMissing, EngineError for a path that leaves the folder."""
        if output.type not in OF_RUNS:
            raise EngineError(f"A node reported a file in the unknown folder {output.type!r}.")
        path = "/".join(relative_path(part) for part in (output.subfolder, output.filename) if part)
        try:
            with Folder.at(self.root) as root, root.own_folder(output.type) as folder:
                return folder.open_file(path, output.filename)
        except NotAFile as what:
            raise FileMissing(str(what)) from None
        except FileNotFoundError:
            raise FileMissing(f"The engine has no file {output.filename} in its {output.type} folder.") from None
        except OSError as error:
            raise FileMissing(f"It cannot be opened: {error.strerror}.") from error

    def clean(self, run_folder: str) -> None:
        """Remove what an ended run left, in its own folders and beside them. Raises EngineError for no run's folder."""
        run = relative_path(run_folder)
        above, _, name = run.rpartition("/")
        budget = Budget(_CLEAN_ENTRIES, _CLEAN_SECONDS)
        with contextlib.suppress(FileNotFoundError), Folder.at(self.root) as root:
            for kind in OF_RUNS:
                try:
                    with root.own_folder(kind) as top, top.folder(above or ".") as folder:
                        folder.remove(name, budget)
                except (OSError, BudgetSpent) as error:
                    # Where somebody put a link, nothing of the run is behind it.
                    if not isinstance(error, FileNotFoundError) and getattr(error, "errno", 0) not in NO_FOLDER:
                        log.warning("A run's files are not all gone.", folder=kind, run=run, why=repr(error))
        with self._guard:
            self._active.pop(run, None)
        self._placed.pop(run, None)
        self._sweep()

    def clean_all(self) -> bool:
        """Remove everything in all the folders, the engine's own too, for no engine runs; tell whether it is gone."""
        budget = Budget(entries=20_000_000, seconds=600.0)
        is_gone = True
        try:
            root = Folder.at(self.root)
        except FileNotFoundError:
            return True
        with root:
            for name in FOLDERS:
                try:
                    self._remove_whole(root, name, budget)
                except (OSError, BudgetSpent) as error:
                    is_gone = False
                    log.error("What an engine left is not all gone.", folder=name, why=repr(error))
        self._own, self._placed, self._laid = None, {}, {}
        return is_gone

    @staticmethod
    def _remove_whole(root: Folder, name: str, budget: Budget) -> None:
        """Remove one of the folders: a process that still has it open can put nothing into the next one of its name."""
        try:
            root.remove(name, budget)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EBUSY):
                raise
            with root.own_folder(name) as mounted:  # a disk of its own
                mounted.empty(budget)

    def usage(self, budget: Budget | None = None) -> Usage:
        """Add up what the folders take; whoever must bound it takes what is not whole for too much."""
        budget = budget or Budget()
        total = entries = 0
        lost: list[OSError] = []
        try:
            with contextlib.suppress(FileNotFoundError), Folder.at(self.root) as root:
                for kind in FOLDERS:
                    for folder, entry, _ in _walk(root, kind, budget, lost=lost.append):
                        entries += 1
                        try:
                            total += max(folder.look(entry.name).st_blocks * 512, _ENTRY_BYTES)
                        except OSError as error:
                            lost.append(error)
        except BudgetSpent:
            return Usage(total, entries, is_whole=False)
        # What cannot be entered, or lies deeper than a path can say, may hide anything; what was moved comes again.
        return Usage(total, entries, is_whole=all(error.errno in _MOVED for error in lost))

    def _input_folder(self, run: str, held: contextlib.ExitStack) -> Folder:
        """Hold the run's folder in `input`, which we made in this life, or make it; whoever else made one loses it."""
        root = held.enter_context(Folder.at(self.root))
        folder = held.enter_context(root.own_folder("input"))
        *above, last = run.split("/")
        for part in above:
            folder = held.enter_context(folder.make(part, self._uid))
        ours = self._placed.get(run)
        if ours is not None:
            with contextlib.suppress(OSError):
                found = folder.folder(last)
                held.enter_context(found)
                if found.identity() == ours:
                    return found
        folder.remove(last, Budget())
        made = held.enter_context(folder.make_new(last, self._uid))
        self._placed[run] = made.identity()
        return made

    def _look(self) -> set[str]:
        """Return what is there before the first run."""
        budget = Budget(_SWEEP_ENTRIES, _SWEEP_SECONDS)
        own: set[str] = set()
        with contextlib.suppress(BudgetSpent, OSError), Folder.at(self.root) as root:
            for kind in _SWEPT:
                own.update(f"{kind}/{path}" for _, _, path in _walk(root, kind, budget))
        return own

    def _sweep(self) -> None:
        """Remove what ended runs left beside their folders, as far as no run that is here can need it."""
        with self._guard:
            own, active = self._own, list(self._active.values())
        if own is None:
            return
        now, monotonic = time.time(), time.monotonic()
        if any(abs((now - began.wall) - (monotonic - began.monotonic)) > _COARSE_SECONDS for began in active):
            return  # the clock was set: file times say nothing until these have ended
        before = min(began.wall for began in active) - _COARSE_SECONDS if active else None
        sweep = _Sweep(own, before, now - TMP_SECONDS, Budget(_SWEEP_ENTRIES, _SWEEP_SECONDS))
        with contextlib.suppress(BudgetSpent, OSError), Folder.at(self.root) as root:
            for kind in _SWEPT:
                self._sweep_kind(root, kind, sweep)

    def _sweep_kind(self, root: Folder, kind: str, sweep: "_Sweep") -> None:
        folders: list[str] = []

        def enters(path: str) -> bool:
            return path not in self._active and not (kind == "tmp" and path.startswith(_CACHES))

        for folder, entry, path in _walk(root, kind, sweep.budget, enters):
            if f"{kind}/{path}" in sweep.own:
                continue
            if not entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    self._unlink_left(folder, entry.name, kind, sweep)
            elif path not in self._run_parents:
                folders.append(path)
        if sweep.before is None and kind != "tmp":
            self._remove_emptied(root, kind, folders)

    def _unlink_left(self, folder: Folder, name: str, kind: str, sweep: "_Sweep") -> None:
        state = folder.look(name)
        if kind == "tmp" and (not stat.S_ISREG(state.st_mode) or state.st_ctime > sweep.tmp_before):
            return
        if sweep.before is not None:
            if state.st_ctime < sweep.before:
                folder.unlink(name)
            return
        with self._guard:
            if not self._active:
                folder.unlink(name)

    def _remove_emptied(self, root: Folder, kind: str, paths: list[str]) -> None:
        """Remove the folders beside those of runs, the innermost first, while no run is here."""
        with root.own_folder(kind) as top:
            for path in reversed(paths):  # each was found after the one that it is in
                above, _, name = path.rpartition("/")
                with self._guard:
                    if self._active:
                        return
                    with contextlib.suppress(OSError), top.folder(above or ".") as folder:
                        os.rmdir(name, dir_fd=folder.descriptor)


@dataclass(frozen=True, slots=True)
class Life:
    """The folders and the user of one engine, from its start to its end. `imports`: where a booted one tells them."""

    name: str
    number: int
    root: Path
    uid: int | None
    files: RunFiles
    imports: ImportRecord | None = None


def _walk(
    root: Folder,
    kind: str,
    budget: Budget,
    enters: Callable[[str], bool] = lambda _: True,
    lost: Callable[[OSError], None] = lambda _: None,
) -> Iterator[tuple[Folder, "os.DirEntry[str]", str]]:
    """Yield all that lies in one of the folders: the folder that it is in, its entry, and its path.

    What `enters` refuses is left out with all that it holds; `lost` hears of folders that cannot be looked into.
    Raises `BudgetSpent`.
    """
    try:
        with root.own_folder(kind) as top:
            pending = ["."]
            while pending:
                above = pending.pop()
                try:
                    with top.folder(above) as folder:
                        for entry in folder.entries(budget):
                            path = entry.name if above == "." else f"{above}/{entry.name}"
                            if enters(path):
                                yield folder, entry, path
                                if entry.is_dir(follow_symlinks=False):
                                    pending.append(path)
                except OSError as error:
                    lost(error)
    except OSError as error:
        lost(error)


@dataclass(frozen=True, slots=True)
class _Sweep:
    """`before`: what was changed later may be needed by a run that is here; None: there is none."""

    own: set[str]
    before: float | None
    tmp_before: float
    budget: Budget


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
