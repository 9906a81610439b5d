"""Write requirements/*.lock from pyproject.toml, or tell whether they belong together.

    .venv/bin/python scripts/lock.py            # after a change of dependencies; needs uv
    .venv/bin/python scripts/lock.py --upgrade  # the newest versions that pyproject.toml allows
    .venv/bin/python scripts/lock.py --check    # offline, no uv needed: exit 1 when pyproject.toml changed since

Each lock adds to the one before: worker.lock is what plain `comfyui-runflow` needs, all.lock what its extras add,
dev.lock what only the tests and checks add. They serve Python 3.11 and newer on Linux and macOS: exact versions with
hashes, and no word about where from, so that every operator's own index settings hold.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = {
    "worker.lock": ["--group", "setup"],
    "all.lock": ["--group", "setup", "--extra", "all"],
    "dev.lock": ["--group", "dev", "--extra", "all"],
}
"""Each with what uv resolves for it, from the smallest to the largest."""
HEADER = "# Made by scripts/lock.py from pyproject.toml; do not edit.\n# Inputs: sha256 {digest}\n"


def inputs_digest() -> str:
    """Return the SHA-256 of what the locks are made from: the dependencies, extras, groups, the oldest Python."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = declared["project"]
    inputs = [project["requires-python"], project["dependencies"], project["optional-dependencies"]]
    return hashlib.sha256(json.dumps([*inputs, declared["dependency-groups"]]).encode()).hexdigest()


def check() -> None:
    """Exit with a sentence when a lock was made from other inputs or names a host."""
    for name in LOCKS:
        path = ROOT / "requirements" / name
        text = path.read_text() if path.exists() else ""
        if not text.startswith(HEADER.format(digest=inputs_digest())):
            sys.exit(f"requirements/{name} is older than pyproject.toml: run .venv/bin/python scripts/lock.py")
        if named := re.search(r"^.*(://|--index-url|--find-links).*$", text, re.MULTILINE):
            sys.exit(f"requirements/{name} names an address, which must stay each operator's own choice: {named[0]}")


def packages(text: str) -> dict[str, str]:
    """Return the parts of a lock, one per package, each with its first line: name, version and marker."""
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {part.partition("\n")[0]: part for part in parts if part[:1].isalnum()}


def resolve(name: str, known: str, arguments: list[str]) -> str:
    """Resolve one lock with uv, and return it whole; versions that `known` holds are kept."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / name
        output.write_text(known)
        command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
        command += ["--no-header", "--output-file", str(output), *LOCKS[name], *arguments, "pyproject.toml"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return output.read_text()


def write(arguments: list[str]) -> None:
    """Resolve the largest lock, and the others with its versions; then write of each what it adds."""
    folder = ROOT / "requirements"
    folder.mkdir(exist_ok=True)
    *_, largest = LOCKS
    known = "".join(path.read_text() for path in (folder / name for name in LOCKS) if path.exists())
    everything = resolve(largest, known, arguments)
    before: set[str] = set()
    for name in LOCKS:
        found = packages(everything if name == largest else resolve(name, everything, []))
        added = [part for line, part in found.items() if line not in before]
        (folder / name).write_text(HEADER.format(digest=inputs_digest()) + "".join(added))
        before |= found.keys()


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        write(sys.argv[1:])
        check()
