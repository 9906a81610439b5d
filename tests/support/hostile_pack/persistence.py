"""Attacks that leave code behind, for the next tenant's engine or for the worker to run."""

import builtins
import hashlib
import os
import site
import sys
import sysconfig
from pathlib import Path

from .loot import Given, Loot, attack, engine_folders, opens_to_write

MARK = "runflow_hostile_was_here"
_CODE = f"import builtins; builtins.{MARK} = True\n"
_LEFT = b"\n# zz_left\n"
_NODE = f"{_CODE}NODE_CLASS_MAPPINGS = {{}}\n"


@attack("write-comfyui", "ComfyUI's own files, its `custom_nodes` and its settings")
def write_comfyui(loot: Loot, given: Given) -> None:
    """Leave code where ComfyUI loads it at its next start."""
    comfyui = Path(sys.modules["__main__"].__file__ or given["comfyui"]).parent
    for folder in (comfyui, comfyui / "custom_nodes", comfyui / "comfy_extras", comfyui / "models"):
        loot.note(f"new file in {folder.name}", _plant, folder / "zz_left.py", _NODE)
    loot.note("main.py", _append, comfyui / "main.py")
    loot.note("nodes.py replaced", _replace, comfyui / "node_helpers.py")
    loot.note("extra paths", _plant, comfyui / "extra_model_paths.yaml", "{}\n")


@attack("write-own-pack", "its own pack's folder and those of its neighbours, the Runflow nodes among them")
def write_own_pack(loot: Loot, given: Given) -> None:
    """Change the code of node packs, which the next tenant's engine loads."""
    here = Path(__file__).parent
    base = Path(engine_folders()["base"])
    loot.note("own pack", _append, here / "__init__.py")
    loot.note("own pack, new file", _plant, here / "zz_left.py", _CODE)
    for folder in dict.fromkeys([here.parent, base / "custom_nodes"]):
        loot.note(f"beside it in {folder.parent.name}", _plant, folder / "zz_left.py", _NODE)
        for pack in folder.iterdir() if folder.is_dir() else ():
            if pack.is_dir() and pack != here and not pack.name.startswith("__"):
                loot.note(f"{pack.name}", _plant, pack / "zz_left.py", _CODE)
    loot.note("compiled", _plant, here / "__pycache__" / "zz_left.cpython-311.pyc", _CODE)


@attack("write-python", "site-packages, `.pth` files, `sitecustomize`, the standard library, packages of its home")
def write_python(loot: Loot, given: Given) -> None:
    """Leave code where Python runs it at its next start."""
    folders = [*site.getsitepackages(), sysconfig.get_paths()["purelib"], site.getusersitepackages()]
    for folder in dict.fromkeys(folders):
        loot.note(f"{folder}: .pth", _plant, Path(folder, "zz_left.pth"), _CODE)
        loot.note(f"{folder}: sitecustomize", _plant, Path(folder, "sitecustomize.py"), _CODE)
    library = Path(os.__file__).parent
    # The standard library is the machine's own: it is opened, and not changed.
    loot.attempt("standard library", opens_to_write, library / "os.py")
    loot.attempt("pyvenv.cfg", opens_to_write, Path(sys.prefix, "pyvenv.cfg"))
    torch = Path(sys.modules["torch"].__file__ or "").parent if "torch" in sys.modules else None
    if torch is not None:
        loot.note("torch", _plant, torch / "zz_left.py", _CODE)


@attack("write-models", "model files and folders that other tenants' runs load")
def write_models(loot: Loot, given: Given) -> None:
    """Change or replace models, which are read by more than one tenant."""
    import folder_paths  # type: ignore[import-not-found, unused-ignore]

    own = os.path.realpath(engine_folders()["base"])
    for folder in folder_paths.get_folder_paths("upscale_models"):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path = Path(folder, name)
            if path.is_file():
                loot.note(f"{name}", _append, path)
        if not os.path.realpath(folder).startswith(own):
            loot.note(f"new in {folder}", _plant, Path(folder, "zz_left.safetensors"), "x")


@attack("plant-links", "links in its own folders to files of root, for the worker to hand them over at its next start")
def plant_links(loot: Loot, given: Given) -> None:
    """Leave links to secret files where the worker changes owners and removes things. The test looks at the targets."""
    folders = engine_folders()
    for name in ("input", "output", "temp", "user", "home", "tmp", "base"):
        for target in given["targets"]:
            link = Path(folders[name], f"link-{Path(target).name}")
            for make in (link.symlink_to, link.hardlink_to):
                try:
                    link.unlink(missing_ok=True)
                    make(target)
                except OSError as error:
                    loot.refused[f"{name}: {make.__name__} {Path(target).name}"] = str(error)[:100]
                else:
                    loot.refused[f"{name}: {make.__name__} {Path(target).name}"] = "made"


@attack("planted-code", "code that a former tenant left, run in this engine")
def planted_code(loot: Loot, given: Given) -> None:
    """Tell whether something that `write-…` left was run here, or lies where it will be."""
    loot.attempt("code ran", hasattr, builtins, MARK)
    folders = [
        Path(__file__).parent,
        Path(__file__).parents[1],
        Path(engine_folders()["base"]),
        Path(os.environ["HOME"]),
    ]
    folders += [Path(folder) for folder in [*site.getsitepackages(), site.getusersitepackages()]]
    folders += [
        Path(engine_folders()["base"], "custom_nodes"),
        Path(given["comfyui"]),
        Path(given["comfyui"], "custom_nodes"),
        Path(given["comfyui"], "models", "upscale_models"),
    ]
    for folder in dict.fromkeys(folders):
        for name in ("sitecustomize.py", "zz_left.py", "zz_left.pth", "zz_left.safetensors"):
            loot.attempt(f"{folder.name}/{name}", (folder / name).exists)
    for path in Path(given["comfyui"], "models").rglob("*"):
        loot.attempt(f"models/{path.name}", is_left, path)


def models(loot: Loot, given: Given) -> None:
    """Tell the SHA-256 of each model of a folder, by its name; the test compares."""
    import folder_paths  # type: ignore[import-not-found, unused-ignore]

    for name in folder_paths.get_filename_list(given["folder"]):
        path = folder_paths.get_full_path(given["folder"], name)
        loot.refused[name] = hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else "no file"
    loot.refused.setdefault("models", "listed")


def is_left(path: Path) -> bool:
    """Tell whether a file is, or holds, what one of these attacks leaves."""
    if path.name.startswith("zz_left") or path.name == "sitecustomize.py" or path.suffix == ".new":
        return True
    names = ("main.py", "__init__.py", "node_helpers.py")
    is_code = path.name in names or "models" in path.parts
    return is_code and path.is_file() and path.read_bytes().endswith(_LEFT)


def _plant(path: Path, content: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x") as file:  # what is there may be a package's own, and other tests' too
        file.write(content)
    return f"wrote {path}"


def _append(path: Path) -> str:
    with path.open("a") as file:
        file.write(_LEFT.decode())
    return f"wrote to {path}"


def _replace(path: Path) -> str:
    """Put a new file in a file's place: that takes the right to write to the folder only."""
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes() + _LEFT)
    new.rename(path)
    return f"replaced {path}"
