"""Write requirements.lock from pyproject.toml, or tell whether the two belong together.

    .venv/bin/python scripts/lock.py            # after a change of dependencies; needs uv
    .venv/bin/python scripts/lock.py --upgrade  # the newest versions that pyproject.toml allows
    .venv/bin/python scripts/lock.py --check    # offline, no uv needed: exit 1 when pyproject.toml changed since

One lock serves Python 3.11 and newer on Linux and macOS: exact versions with hashes, and no word about where from, so
that every operator's own index settings hold.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = "# Made by scripts/lock.py from pyproject.toml; do not edit.\n# Inputs: sha256 {digest}\n"


def inputs_digest() -> str:
    """Return the SHA-256 of what the lock is made from: the dependencies, the groups, the oldest Python."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = declared["project"]
    inputs = [project["requires-python"], project["dependencies"], declared["dependency-groups"]]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def check() -> None:
    """Exit with a sentence when the lock was made from other inputs or names a host."""
    text = LOCK.read_text()
    if not text.startswith(HEADER.format(digest=inputs_digest())):
        sys.exit("requirements.lock is older than pyproject.toml: run .venv/bin/python scripts/lock.py")
    if named := re.search(r"^.*(://|--index-url|--find-links).*$", text, re.MULTILINE):
        sys.exit(f"requirements.lock names an address, which must stay each operator's own choice: {named[0]}")


def write(arguments: list[str]) -> None:
    """Resolve with uv; versions that the lock holds already are kept unless `--upgrade` is among the arguments."""
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--group", "dev", "--generate-hashes"]
    command += ["--quiet", "--no-header", "--output-file", LOCK.name, *arguments, "pyproject.toml"]
    subprocess.run(command, cwd=ROOT, check=True)
    LOCK.write_text(HEADER.format(digest=inputs_digest()) + LOCK.read_text())


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        write(sys.argv[1:])
        check()
