"""git against repositories of strangers: nothing of ours reaches them, and nothing of theirs runs here.

No hook, filter, credential helper, prompt, configuration of the user or of the system, and no protocol but those that
were allowed. What a repository says about itself (`.gitattributes`, `.gitmodules`) can only choose among what git does
without any program.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runflow.protocol.origins import ALWAYS_ALLOWED
from runflow.worker.runtime.commands import (
    CommandFailed,
    SourceRefused,
    bound,
    killed_with_its_thread,
    run,
    without_credentials,
)

_KEPT = ("PATH", "TMPDIR", "TZ", "SSH_AUTH_SOCK", *("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"))
"""What git gets of our environment, proxies in both spellings."""
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.bigFileThreshold": "32m",  # what is larger is streamed, not held in memory
    "core.sshCommand": "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "fetch.unpackLimit": "1",  # one file arrives, so that a limit on files limits what arrives
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "filter.lfs.process": "",
    "filter.lfs.smudge": "",
    "filter.lfs.required": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "initial",  # a renamed repository answers so
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    # What tools of long ago wrote, and what git itself reads without harm.
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.badTimezone": "ignore",
}
"""What git is set to; the settings of the user and of the system do not count."""
MOST_OUTPUT = 64 << 20
"""Most bytes that are taken of what git prints: a list of some 300,000 paths, or one file."""
_BLOCK = 512
"""What `ulimit -f` of a POSIX shell counts in."""


class TooMuch(SourceRefused):
    """A repository has more to say than anybody would read."""


@dataclass(frozen=True, slots=True)
class GuardedGit:
    """git for repositories of strangers; beside `https://` addresses it reaches what `allowed_prefixes` begin."""

    allowed_prefixes: Collection[str] = ()

    def run(self, folder: Path, *arguments: str | Path, seconds: float, most_bytes: int | None = None) -> str:
        """Run git in a bare repository and return what it printed; it may write no file of more than `most_bytes`.

        Raises CommandFailed.
        """
        command: list[str | Path] = ["git", "--git-dir", folder, *arguments]
        if most_bytes is not None:
            command = ["/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"', str(-(-most_bytes // _BLOCK)), *command]
        what = f"git {arguments[0]}"
        return run(command, what=what, env=self.environment(), timeout=seconds, alone=True).strip()

    def output(
        self, folder: Path, *arguments: str | Path, seconds: float, env: Mapping[str, str] | None = None
    ) -> bytes:
        """Return what git prints about a bare repository as it is, for names and contents need not be text.

        Raises CommandFailed; TooMuch where that has no end, as of a few trees that hold each other many times.
        """
        what = f"git {arguments[0]}"
        command = bound(["git", "--git-dir", folder, *arguments], what)
        environment = {**self.environment(), **(env or {})}
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
            )
            killed_with_its_thread(process)
            timer = threading.Timer(seconds, process.kill)
            timer.start()
            with process:
                assert process.stdout is not None
                said = process.stdout.read(MOST_OUTPUT + 1)
                if is_too_much := len(said) > MOST_OUTPUT:
                    process.kill()
            in_time = timer.is_alive()
            timer.cancel()
            if is_too_much:
                raise TooMuch(f"{what} prints more than {MOST_OUTPUT:,} bytes about {folder}. It is not taken.")
            if process.returncode != 0:
                complaints.seek(0)
                words = without_credentials(complaints.read().decode(errors="replace")).strip().splitlines()
                raise CommandFailed(what, process.returncode if in_time else None, "\n".join(words[-5:]))
        return said

    def environment(self) -> dict[str, str]:
        """Return the whole environment of git."""
        kept = {name: value for name, value in os.environ.items() if name.upper() in _KEPT}
        if certificates := os.environ.get("SSL_CERT_FILE"):
            kept["GIT_SSL_CAINFO"] = certificates
        schemes = {urlsplit(prefix).scheme for prefix in (ALWAYS_ALLOWED, *self.allowed_prefixes)}
        settings = {
            name: text
            for at, (key, value) in enumerate(SETTINGS.items())
            for name, text in ((f"GIT_CONFIG_KEY_{at}", key), (f"GIT_CONFIG_VALUE_{at}", value))
        }
        return {
            **kept,
            **settings,
            "GIT_CONFIG_COUNT": str(len(SETTINGS)),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": ":".join(sorted(schemes)),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "HOME": os.devnull,  # no .netrc
            "LC_ALL": "C",
        }
