"""Small wheels with the files, names and requirements that a test wants, and an index that serves them."""

import base64
import hashlib
import io
import tarfile
import textwrap
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.http_server import QuietHandler, serving

_WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """Write a pure wheel into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    distribution = name.replace("-", "_")
    info = f"{distribution}-{version}.dist-info"
    content = {
        **(files if files is not None else {f"{distribution}/__init__.py": ""}),
        f"{info}/METADATA": _metadata(name, version, requires),
        f"{info}/WHEEL": _WHEEL,
    }
    path = folder / f"{distribution}-{version}-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text in content.items():
            wheel.writestr(place, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record += f"{place},sha256={digest},{len(text)}\n"
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


def build_sdist(
    folder: Path,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    proof: Path | None = None,
    code: str = "",
    built_with: Sequence[str] = (),
    more: str = "",
) -> Path:
    """Write a source package whose build backend is its own; running anything of it leaves the file `proof`.

    `code` runs before its wheel is made, which has one module that says its version. `more` belongs to the backend.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    top = f"{module}-{version}"
    backend = (
        "import pathlib, zipfile\n"
        f"METADATA = {_metadata(name, version, requires)!r}\n"
        f"WHEEL = {_WHEEL!r}\n"
        f"{f'pathlib.Path({str(proof)!r}).touch()' if proof else ''}\n"
        "def prepare_metadata_for_build_wheel(folder, settings=None):\n"
        f"    info = pathlib.Path(folder, {top + '.dist-info'!r})\n"
        "    info.mkdir()\n"
        "    (info / 'METADATA').write_text(METADATA)\n"
        "    (info / 'WHEEL').write_text(WHEEL)\n"
        "    return info.name\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        f"{textwrap.indent(textwrap.dedent(code) or 'pass', '    ')}\n"
        f"    path = pathlib.Path(folder, {top + '-py3-none-any.whl'!r})\n"
        "    with zipfile.ZipFile(path, 'w') as wheel:\n"
        f"        wheel.writestr({module + '.py'!r}, {f'version = {version!r}'!r})\n"
        f"        wheel.writestr({top + '.dist-info/METADATA'!r}, METADATA)\n"
        f"        wheel.writestr({top + '.dist-info/WHEEL'!r}, WHEEL)\n"
        f"        wheel.writestr({top + '.dist-info/RECORD'!r}, {f'{module}.py,,'!r})\n"
        f"    return path.name\n{textwrap.dedent(more)}\n"
    )
    files = {
        "pyproject.toml": (
            f'[build-system]\nrequires = {list(built_with)}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        ),
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
    }
    path = folder / f"{top}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for place, text in files.items():
            member = tarfile.TarInfo(f"{top}/{place}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def _metadata(name: str, version: str, requires: Sequence[str]) -> str:
    lines = [f"Requires-Dist: {requirement}\n" for requirement in requires]
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{''.join(lines)}"


@contextmanager
def serving_index(folder: Path) -> Iterator[str]:
    """Serve the files of a folder as a simple index, until the end of the block; gives the index's address."""

    class Index(QuietHandler):
        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").partition("/")
            path = folder / name
            if kind == "files" and path.is_file():
                self._answer(200, path.read_bytes(), "application/octet-stream")
                return
            found = [one for one in sorted(folder.iterdir()) if _package(one) == name] if kind == "simple" else []
            links = "".join(f'<a href="/files/{one.name}">{one.name}</a>\n' for one in found)
            page = f"<!DOCTYPE html><html><body>{links}</body></html>"
            self._answer(200 if found else 404, page.encode(), "text/html")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Index) as url:
        yield f"{url}/simple/"


def _package(path: Path) -> str:
    return path.name.split("-")[0].replace("_", "-")
