"""What a sandboxed engine sees: the system's programs, its Python and ComfyUI, its own folders, and nothing else.

Only paths and kinds are decided here; `enter.py` mounts them, in order, in a root of its own.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from runflow.worker.engine.folders import home_folder

RUNTIME = "/run/runflow"
"""Inside: what belongs to the sandbox itself. A fork server's children cover it with an empty folder."""
COMFYUI_LAYER = f"{RUNTIME}/comfyui"
LAYER = f"{RUNTIME}/layer"
OWN_LAYER = f"{RUNTIME}/own"
LIVES = f"{RUNTIME}/lives"
SCRIPTS = f"{RUNTIME}/scripts"

OWN_PACKS, OWN_LINKS = "packs", "links"
"""In the folders of a fork that has node packs of its own: what is laid over ComfyUI's folder, and links to it."""

ENGINE_FOLDERS = ("input", "output", "temp", "user", "home", "tmp")
"""What an engine writes, below its base folder."""

_SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108 (inside)
_MEMORY_BYTES = 512 * 1024 * 1024
_NOTHING_BYTES = 4096
_PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SETTINGS = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "fonts",
    "ssl",
    "pki",
    "ca-certificates",
    "localtime",
    "timezone",
    "mime.types",
    "magic",
    "os-release",
    "debian_version",
    "OpenCL",
    "vulkan",
    "glvnd",
    "nvidia",
    "ImageMagick-6",
    "ImageMagick-7",
)
_SETTINGS_OF_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols")
_MORE_PROGRAMS = ("/nix/store", "/gnu/store", "/opt/rocm", "/opt/cuda", "/run/opengl-driver")
_PLAIN_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_GPU_DEVICES = re.compile(r"nvidia.*|dri|kfd|dxg")
_PATHS = re.compile(r"""/[^'"\s;:]+""")
_MOST_LINKS = 2000
_DEEPEST = 6

Kind = Literal["bind", "memory", "overlay", "processes", "link", "text", "folder"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing in the view, at the path `at`.

    bind: `source` of the machine; memory: an empty file system; overlay: `lower` with what is written kept in `layer`;
    processes: /proc; link: to `source`; text: a file; folder: an empty one in what is there.
    """

    kind: Kind
    at: str
    source: str = ""
    writable: bool = False
    devices: bool = False
    optional: bool = False
    size_bytes: int = 0
    mode: int = 0o755
    lower: str = ""
    layer: str = ""
    owner: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an engine is made of: the ComfyUI, the interpreter of its environment, the base folder, our plugin."""

    comfy_dir: Path
    python: Path
    base_dir: Path
    more: tuple[Path, ...] = ()
    """Further folders that it reads: the plugin's source, folders of models that its settings name."""
    is_strangers: bool = False
    """Files of its environment were written by others than the operator: what these name is not shown to it."""


def mounts(
    runtime: Runtime, *, lives: Path, life: Path | None, network: bool, gpu: bool, layered: bool, owner: int | None
) -> list[dict[str, Any]]:
    """Return the view of one life of an engine, or (`life` None) of the fork server for all that will be below `lives`.

    `layered`: what is written to ComfyUI's folder is kept apart and forgotten; else writing there is refused. `owner`:
    who may write to what is made here, None for whoever mounts it.
    """
    found = [
        *_system(network=network),
        *_devices(gpu=gpu),
        *_interpreter(runtime.python, runtime.base_dir, is_strangers=runtime.is_strangers),
        *_comfyui(runtime, layered=layered, owner=owner),
        *_base(runtime, life, owner),
        *(_bind(folder, folder.resolve()) for folder in runtime.more if folder.exists()),
        _bind(Path(SCRIPTS), Path(__file__).parent.parent.resolve()),
    ]
    if life is None:
        found.append(Mount("bind", LIVES, source=str(lives.resolve()), writable=True))
        found.append(Mount("folder", OWN_LAYER))
    return [asdict(mount) for mount in found]


def mounts_of_build(readable: Sequence[Path], writable: Path) -> list[dict[str, Any]]:
    """Return the view of a command that has no network: the system, folders to read, and one to write, which is last.

    What it writes to the system's folders for temporary files lies in `tmp` of that one.
    """
    whole = writable.resolve()
    shown = [*readable, *(folder.resolve() for folder in readable), writable]
    found = [
        *_system(network=False),
        *_devices(gpu=False),
        *(_bind(folder, folder.resolve()) for folder in dict.fromkeys(shown[:-1])),
        *(
            Mount("bind", place, source=str(whole / "tmp"), writable=True)
            for place in _SCRATCH
            if not any(_is_within(folder, Path(place)) for folder in shown)
        ),
        Mount("bind", str(writable), source=str(whole), writable=True),
        _bind(Path(SCRIPTS), Path(__file__).parent.parent.resolve()),
    ]
    return [asdict(mount) for mount in found]


def folders_of_python(python: Path, base: Path) -> list[Path]:
    """Return the folders that an interpreter and its environment consist of, but for those in `base` or in a home."""
    return [Path(mount.at) for mount in _interpreter(python, base)]


def mounts_of_fork(
    runtime: Runtime, life: str, *, layered: bool, owner: int | None, has_packs: bool = False
) -> list[dict[str, Any]]:
    """Return what a child of the fork server mounts over its parent's view: its own folders, and nothing of others.

    `life` is the name of its folder in `lives`, `owner` its user's number inside. `has_packs`: it gets `OWN_PACKS` of
    that folder over its ComfyUI, which needs `layered`, and `OWN_LINKS` in the place of the base folder's node packs.
    """
    found: list[dict[str, Any]] = []
    own_packs = [f"{LIVES}/{life}/{OWN_PACKS}"] if has_packs else []
    if layered:
        found.append({"kind": "memory", "at": OWN_LAYER, "size_bytes": _MEMORY_BYTES, "mode": 0o755})
        found += [{"kind": "folder", "at": f"{OWN_LAYER}/{name}", "owner": owner} for name in ("upper", "work")]
        found.append(
            {
                "kind": "overlay",
                "at": str(runtime.comfy_dir),
                "lower": [*own_packs, f"{LAYER}/upper", COMFYUI_LAYER],
                "upper": f"{OWN_LAYER}/upper",
                "work": f"{OWN_LAYER}/work",
                "written": f"{LAYER}/upper",
            }
        )
    for name in covered(runtime.comfy_dir):
        place = str(runtime.comfy_dir / name)
        found.append({"kind": "memory", "at": place, "size_bytes": _NOTHING_BYTES, "mode": 0o755})
    # What the parent can write to and its children see: with its user's number they could leave something there.
    found.append({"kind": "read_only", "at": str(runtime.base_dir)})
    if has_packs:
        place = str(runtime.base_dir / "custom_nodes")
        found.append({"kind": "bind", "source": f"{LIVES}/{life}/{OWN_LINKS}", "at": place, "writable": False})
    for name in (*ENGINE_FOLDERS, "models"):
        source, place = f"{LIVES}/{life}/{name}", str(runtime.base_dir / name)
        found.append({"kind": "bind", "source": source, "at": place, "writable": name != "models"})
    for place in _scratch(runtime):
        found.append({"kind": "bind", "source": f"{LIVES}/{life}/tmp", "at": place, "writable": True})  # noqa: S108 (inside)
    shared = "/dev/shm"  # noqa: S108 (inside)
    found.append({"kind": "memory", "at": shared, "size_bytes": _MEMORY_BYTES, "mode": 0o1777})
    found.append({"kind": "memory", "at": RUNTIME, "size_bytes": 4096, "mode": 0o755})
    return found


def _bind(place: Path, source: Path, *, optional: bool = False) -> Mount:
    return Mount("bind", str(place), source=str(source), optional=optional)


def _system(*, network: bool) -> Iterator[Mount]:
    yield _bind(Path("/usr"), Path("/usr").resolve())
    for name in _PROGRAMS:
        place = Path("/") / name
        if place.is_symlink():
            yield Mount("link", str(place), source=str(place.readlink()))
        elif place.is_dir():
            yield _bind(place, place)
    for name in (*_SETTINGS, *(_SETTINGS_OF_NETWORK if network else ())):
        place = Path("/etc") / name
        if place.exists():
            yield _bind(place, place.resolve())
    yield Mount("text", "/etc/passwd", text="root:x:0:0::/:/bin/false\nrunflow-engine:x:1:1::/:/bin/false\n")
    yield Mount("text", "/etc/group", text="root:x:0:\nrunflow-engine:x:1:\n")
    if not network:
        yield Mount("text", "/etc/hosts", text="127.0.0.1 localhost\n::1 localhost\n")
    for name in _MORE_PROGRAMS:
        place = Path(name)
        if place.exists():
            yield _bind(place, place.resolve())
    yield Mount("processes", "/proc")
    yield Mount("folder", "/run")


def _devices(*, gpu: bool) -> Iterator[Mount]:
    devices = Path("/dev")
    for name in _PLAIN_DEVICES:
        if (devices / name).exists():
            yield _device(devices / name)
    yield Mount("memory", "/dev/shm", size_bytes=_MEMORY_BYTES, mode=0o1777)  # noqa: S108
    for name, source in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        yield Mount("link", f"/dev/{name}", source=f"/proc/self/{source}")
    yield _bind(Path("/sys/devices/system"), Path("/sys/devices/system"), optional=True)
    if gpu:
        yield _bind(Path("/sys"), Path("/sys"), optional=True)
        for entry in sorted(devices.iterdir()):
            if _GPU_DEVICES.fullmatch(entry.name):
                yield _device(entry)


def _device(place: Path) -> Mount:
    """A device can be written to all the same; its permissions, with root's number, cannot."""
    return Mount("bind", str(place), source=str(place), devices=True, optional=True)


def _interpreter(python: Path, base: Path, *, is_strangers: bool = False) -> Iterator[Mount]:
    """The environment and the Python that it was made from, by every path that leads there.

    Of one that lies in somebody's home (`~/bin/python3`) only its programs and libraries: that home holds keys.
    """
    seen: set[Path] = set()
    privates = [folder for folder in (base.resolve(), home_folder()) if folder is not None]
    for prefix in _hops(python) if is_strangers else _prefixes(python):
        if any(_is_within(private, prefix.resolve()) for private in privates):
            for name in ("bin", "lib", "lib64"):
                if _is_folder(prefix / name) and prefix not in (Path("/"), Path("/usr")):
                    yield _bind(prefix / name, (prefix / name).resolve())
            continue
        if prefix in seen or not _is_folder(prefix) or prefix in (Path("/"), Path("/usr"), Path("/usr/local")):
            continue
        seen.add(prefix)
        yield _bind(prefix, prefix.resolve())


def _prefixes(python: Path) -> Iterator[Path]:
    yield from _hops(python)
    yield from _named(python)


def _hops(python: Path) -> Iterator[Path]:
    """Yield where the links from an environment's interpreter lead."""
    hop = python.absolute()
    for _ in range(16):
        yield hop.parent.parent
        yield (hop.parent.parent).resolve()
        if not hop.is_symlink():
            break
        hop = Path(os.path.normpath(hop.parent / hop.readlink()))


def _named(python: Path) -> Iterator[Path]:
    """Yield what files of an environment name."""
    configuration = python.absolute().parent.parent / "pyvenv.cfg"
    if configuration.is_file():
        for line in configuration.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home":
                yield Path(value.strip()).parent
                yield Path(value.strip()).parent.resolve()
    for paths in sorted((python.absolute().parent.parent / "lib").glob("python*/site-packages/*.pth")):
        for line in paths.read_text(encoding="utf-8", errors="replace").splitlines():
            # Of what is installed where it is developed, and of environments that borrow from another one.
            yield from (Path(found) for found in _PATHS.findall(line) if _is_folder(Path(found)))


def _comfyui(runtime: Runtime, *, layered: bool, owner: int | None) -> Iterator[Mount]:
    folder = runtime.comfy_dir
    if layered:
        yield _bind(Path(COMFYUI_LAYER), folder.resolve())
        yield Mount("memory", LAYER, size_bytes=_MEMORY_BYTES)
        yield Mount("overlay", str(folder), lower=COMFYUI_LAYER, layer=LAYER, owner=owner)
    else:
        yield _bind(folder, folder.resolve())
    for name in covered(folder):
        yield Mount("memory", str(folder / name), size_bytes=_NOTHING_BYTES)
    for name in (".venv", "venv"):
        place = folder / name
        if place.exists() and not place.is_symlink():
            yield _bind(place, place.resolve())
    for name in (*_top(folder), "custom_nodes", "models"):
        for link in _links(folder / name, deep=name == "models"):
            target = Path(os.path.normpath(link.parent / link.readlink()))
            if target.exists() and not _is_within(target, folder):
                yield _bind(target, target.resolve())
                if target != target.resolve():
                    yield _bind(target.resolve(), target.resolve())


def covered(folder: Path) -> list[str]:
    """Name what somebody left in a ComfyUI that they used by hand: keys, pictures. An engine's own are elsewhere."""
    return [name for name in ("user", "input", "output", "temp") if (folder / name).is_dir()]


def _top(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_symlink())


def _links(folder: Path, *, deep: bool) -> Iterator[Path]:
    """The links at, right below, or (`deep`) anywhere below a folder; of very many, the first."""
    if folder.is_symlink():
        yield folder
    left = _MOST_LINKS
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            if path.is_symlink():
                yield path
                left -= 1
                if left == 0:
                    return
        if not deep or place.count(os.sep) - str(folder).count(os.sep) >= _DEEPEST:
            folders.clear()


def _scratch(runtime: Runtime) -> list[str]:
    """The system's folders for temporary files, but for one that holds what the engine is made of."""
    shown = (runtime.comfy_dir, runtime.base_dir, runtime.python, *runtime.more)
    return [place for place in _SCRATCH if not any(_is_within(path, Path(place)) for path in shown)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # below what we may not enter
        return False


def _is_within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _base(runtime: Runtime, life: Path | None, owner: int | None) -> Iterator[Mount]:
    base = runtime.base_dir
    yield Mount("memory", str(base), size_bytes=_MEMORY_BYTES, owner=owner if life is None else None)
    for name in (*ENGINE_FOLDERS, "models"):
        place = str(base / name)
        if life is None:
            yield Mount("folder", place, owner=owner)
        else:
            yield Mount("bind", place, source=str((life / name).resolve()), writable=name != "models")
    if life is not None:
        for place in _scratch(runtime):
            yield Mount("bind", place, source=str((life / "tmp").resolve()), writable=True)
    else:
        for place in _scratch(runtime):
            yield Mount("memory", place, size_bytes=_MEMORY_BYTES, mode=0o1777)
    yield Mount("folder", str(base / "custom_nodes"))
    nodes = base / "custom_nodes"
    for entry in sorted(nodes.iterdir()) if nodes.is_dir() else ():
        if entry.is_symlink():
            target = Path(os.path.normpath(nodes / entry.readlink()))
            yield Mount("link", str(entry), source=str(target))
            if target.exists() and not _is_within(target, runtime.comfy_dir):
                yield _bind(target, target.resolve())
        else:
            yield _bind(entry, entry)
    paths = base / "extra_model_paths.yaml"
    if paths.is_file():
        yield _bind(paths, paths)
