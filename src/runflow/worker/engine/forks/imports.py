"""What a fork server imports before the first fork. Stands alone, in the engine's Python, loaded by `server.py`.

Level 3: server and node packs; those of `load_in_child` are imported after the fork. Level 0, for GPUs: only the
packages that a booted engine was seen to import, for importing ComfyUI itself touches the device.
"""

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import signal
import sys

try:
    import runflow_forks_guards as guards  # type: ignore[import-not-found]
except ModuleNotFoundError:  # it is looked at from outside of a fork server
    from runflow.worker.engine.forks import guards

_OURS = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM}
_DATABASE_BYTES = 4 * 1024 * 1024
_PRESTARTUP = "prestartup_script.py"


class Refused(Exception):
    """This ComfyUI cannot be forked at this level; the message says why."""


class Parent:
    """What is imported, whether a ComfyUI or its packages alone."""

    def __init__(self, wish: dict) -> None:  # type: ignore[type-arg]
        self.wish = wish
        self.level = int(wish["level"])
        self.held = guards.HeldThreads()
        self.left_for_child: list[str] = []
        self.complaints: dict[str, list[str]] = {}
        self.database = b""

    def load(self, modules: "int | None") -> None:
        """Import; the names of level 0 are read from the descriptor `modules`. Raises `Refused`."""
        sys.argv = ["main.py", *self.wish["arguments"]]
        gc.disable()  # what is imported stays: looking through it again and again takes a fifth of the time
        if self.level == 0:
            assert modules is not None
            with os.fdopen(os.dup(modules)) as file:
                self._load_packages(json.load(file))
        else:
            sys.path.insert(0, os.getcwd())
            self._load_comfyui()
        for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(which, 0)
        for number in signal.valid_signals() - _OURS:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        gc.collect()
        if not self.complaints and (fault := guards.unfit()):
            raise Refused(f"What it imports leaves {fault}, which no fork survives.")
        gc.freeze()  # the collector would touch, and so copy, every page that is shared
        gc.enable()

    def _load_packages(self, names: "list[str]") -> None:
        """Import packages as a boot does, one after the other; each is watched, for one alone may be left out."""
        left_out = set(self.wish["load_in_child"])
        environment, before = guards.Environment(), dict(os.environ)
        os.environ.update(self.wish["settings"])
        watch = guards.Watch()
        failed = []
        family = ""
        for name in [*names, ""]:
            if name in sys.modules:
                continue
            if name.partition(".")[0] != family:
                self._blame(family, watch.what_came())
                family = name.partition(".")[0]
            if name and family not in {*left_out, *self.complaints}:
                try:
                    importlib.import_module(name)
                except BaseException as error:
                    failed.append(f"{name} ({str(error)[:100]})")
        if failed:
            sys.stderr.write(f"Imported by each engine: {len(failed)} modules, e.g. {failed[0]}\n")
        # Each engine's ComfyUI makes these settings itself, and adds to what it finds.
        for name in self.wish["settings"]:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
        environment.restore()

    def _load_comfyui(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        environment = guards.Environment()
        self._hold_packs_back()
        with self._prestartup_watched():
            import main as comfy_main

        self.main = comfy_main
        try:
            import app.database.db  # noqa: F401 (half a second of every start)
        except ImportError:
            pass
        nodes, server = importlib.import_module("nodes"), importlib.import_module("server")
        for needed, where in (("start_comfyui", comfy_main), ("load_custom_node", nodes), ("init_extra_nodes", nodes)):
            if not hasattr(where, needed):
                raise Refused(f"This ComfyUI has no {needed}.")
        from comfy.cli_args import args

        self.server = server.PromptServer(loop)
        self._watch_packs(nodes, loop)
        try:
            loop.run_until_complete(
                self._with_hooks_kept(nodes, api_nodes=not getattr(args, "disable_api_nodes", True))
            )
        finally:
            guards.allow_installers()
        if not self.complaints and (pending := _waiting(loop)):
            raise Refused(f"ComfyUI left work behind: {str(pending.pop())[:200]}")
        loop.close()
        environment.restore()
        self._make_database()
        self._replace_start(nodes)

    async def _with_hooks_kept(self, nodes, *, api_nodes: bool) -> None:  # type: ignore[no-untyped-def]
        try:
            hooks = importlib.import_module("hook_breaker_ac10a0")
        except ImportError:
            hooks = None
        if hooks is not None:
            hooks.save_functions()
        await nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=api_nodes)
        if hooks is not None:
            hooks.restore_functions()

    def _make_database(self) -> None:
        """Have ComfyUI's database made once, by a child; each engine begins with a copy instead of eight migrations."""
        process = os.fork()
        if process == 0:
            try:
                self.main.setup_database()
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        try:
            with open(self._database_path, "rb") as made:
                content = made.read(_DATABASE_BYTES + 1)
        except OSError:
            return
        self.database = content if len(content) <= _DATABASE_BYTES else b""

    @property
    def _database_path(self) -> str:
        return os.path.join(self.wish["base"], "user", "comfyui.db")

    def place_database(self) -> None:
        """Give it to this engine."""
        if self.database:
            with open(self._database_path, "xb") as placed:
                placed.write(self.database)

    def _hold_packs_back(self) -> None:
        base = self.wish["base"]
        roots = {os.path.join(base, "custom_nodes"), os.path.join(os.getcwd(), "custom_nodes")}
        for root in sorted(roots):
            if os.path.isdir(root):
                roots.update(os.path.realpath(os.path.join(root, name)) for name in os.listdir(root))
        self.held.roots = tuple(sorted(roots))
        self.held.hold()
        guards.refuse_installers(lambda said: sys.stderr.write(f"A node pack {said}\n"))

    def _blame(self, name: str, found: "list[str]") -> None:
        if found and name:
            self.complaints.setdefault(name, []).extend(found)

    @contextlib.contextmanager
    def _prestartup_watched(self):  # type: ignore[no-untyped-def]
        """Watch the scripts that packs have run before ComfyUI is imported; those of `load_in_child` run there."""
        find = importlib.util.spec_from_file_location
        in_child = set(self.wish["load_in_child"])

        def find_watched(name, location=None, *more, **options):  # type: ignore[no-untyped-def]
            spec = find(name, location, *more, **options)
            folder, script = os.path.split(os.fspath(location or ""))
            if spec is None or spec.loader is None or script != _PRESTARTUP:
                return spec
            pack, run = os.path.basename(folder), spec.loader.exec_module

            def run_watched(module) -> None:  # type: ignore[no-untyped-def]
                if pack in in_child:
                    return
                watch = guards.Watch()
                try:
                    run(module)
                finally:
                    self._blame(pack, watch.what_came())

            spec.loader.exec_module = run_watched  # type: ignore[method-assign]
            return spec

        importlib.util.spec_from_file_location = find_watched
        try:
            yield
        finally:
            importlib.util.spec_from_file_location = find

    def _watch_packs(self, nodes, loop) -> None:  # type: ignore[no-untyped-def]
        load = nodes.load_custom_node
        in_child = set(self.wish["load_in_child"])
        watch = guards.Watch()

        async def load_watched(path, *more, **options):  # type: ignore[no-untyped-def]
            name = os.path.basename(path)
            own = options.get("module_parent", "custom_nodes") == "custom_nodes" and "comfy_extras" not in path
            if own and name in in_child:
                self.left_for_child.append(path)
                return True
            before = _waiting(loop)
            loaded = await load(path, *more, **options)
            # What ComfyUI's own nodes leave is no pack's fault.
            found = watch.what_came()
            if own:
                self._blame(name, found)
                self._blame(name, [f"work that waits ({task.get_name()})" for task in _waiting(loop) - before])
            return loaded

        nodes.load_custom_node = load_watched
        self._load_one = load

    def _replace_start(self, nodes) -> None:  # type: ignore[no-untyped-def]
        """Let `start_comfyui` take what is there already."""
        made, left, load = self.server, self.left_for_child, self._load_one
        base_names = {name for name, node in nodes.NODE_CLASS_MAPPINGS.items() if not _is_of_pack(node)}

        async def load_the_rest(*_given, **_options) -> list:  # type: ignore[no-untyped-def,type-arg]
            for path in left:
                _prestart(path)
                await load(path, base_names, module_parent="custom_nodes")
            return []

        nodes.load_custom_node = load
        nodes.init_extra_nodes = load_the_rest

        class Made:
            instance = made

            def __new__(cls, loop):  # type: ignore[no-untyped-def]
                made.loop = loop
                made.messages = asyncio.Queue()
                return made

        self.main.server.PromptServer = Made


def _waiting(loop) -> set:  # type: ignore[no-untyped-def,type-arg]
    """Return the tasks of a loop that have not ended, but for the one that asks."""
    current = asyncio.current_task(loop) if loop.is_running() else None
    return {task for task in asyncio.all_tasks(loop) if task is not current and not task.done()}


def _prestart(pack: str) -> None:
    """Run a pack's script that comes before it, which the fork server has left out."""
    script = os.path.join(pack, _PRESTARTUP)
    if os.path.isfile(script):
        try:
            spec = importlib.util.spec_from_file_location(os.path.splitext(script)[0], script)
            assert spec is not None and spec.loader is not None
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:
            sys.stderr.write(f"{script} failed: {error}\n")


def _is_of_pack(node) -> bool:  # type: ignore[no-untyped-def]
    return str(getattr(node, "RELATIVE_PYTHON_MODULE", "")).startswith("custom_nodes")
