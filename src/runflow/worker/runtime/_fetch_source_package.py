"""Fetch one source archive with pip's own session, building nothing.

Runs in an environment that has pip: `python _fetch_source_package.py NAME VERSION FOLDER [FILE MOST_BYTES]`, with a
file name where one of several is meant, and with the most bytes that it may have. pip's command for it
(`pip download --no-binary`) would run the package's build code only to learn its dependencies; here the archive alone
is wanted. Using pip's finder and session keeps the operator's index, find-links, certificates, proxy and credentials.
Says `{"done", "total"}` in bytes on standard error as it goes, and at last `{"path", "sha256"}` or
`{"missing": [versions]}` or `{"too_large": bytes}` on standard output. Exit code 3: this pip cannot be used so.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, TextIO


def _say(stream: TextIO, **fact: Any) -> None:
    stream.write(json.dumps(fact) + "\n")
    stream.flush()


def _fetch(session: Any, link: Any, folder: Path, most_bytes: int | None) -> None:
    path = folder / link.filename
    digest = hashlib.sha256()
    if link.is_file:
        if most_bytes is not None and Path(link.file_path).stat().st_size > most_bytes:
            _say(sys.stdout, too_large=most_bytes)
            return
        digest.update(Path(link.file_path).read_bytes())
        path.write_bytes(Path(link.file_path).read_bytes())
    else:
        answer = session.get(link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True)
        answer.raise_for_status()
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        with path.open("wb") as file:
            for chunk in answer.iter_content(256 * 1024):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if most_bytes is not None and done > most_bytes:
                    _say(sys.stdout, too_large=most_bytes)
                    return
                _say(sys.stderr, done=done, total=total or None)
    _say(sys.stdout, path=str(path), sha256=digest.hexdigest())


def main(name: str, version: str, folder: str, file: str = "", most_bytes: str = "") -> int:
    """Find the archive of exactly that version, or of that file name, and store it in the folder."""
    try:
        from pip._internal.commands import create_command

        command: Any = create_command("download")
        command._build_package_finder  # noqa: B018
    except (ImportError, AttributeError):
        return 3

    def find_and_fetch(options: Any, arguments: list[str]) -> int:
        session = command.get_default_session(options)
        finder = command._build_package_finder(options=options, session=session, ignore_requires_python=True)
        archives = [found for found in finder.find_all_candidates(name) if not found.link.is_wheel]
        for found in archives:
            if (found.link.filename == file) if file else (str(found.version) == version):
                _fetch(session, found.link, Path(folder), int(most_bytes) if most_bytes else None)
                return 0
        _say(sys.stdout, missing=[str(found.version) for found in archives])
        return 0

    command.run = find_and_fetch
    return int(command.main([name, "--no-binary", ":all:", "--quiet", "--quiet"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
