import asyncio
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from plugin.autosetup import git as git_module
from plugin.autosetup.archive import ArchiveRefused
from plugin.autosetup.commands import CommandFailed
from plugin.autosetup.fetch import Fetcher, FetchFailed
from plugin.autosetup.lines import PackLine
from plugin.autosetup.packages import Requirements
from plugin.autosetup.packs import LeftOut, clean_up, install_pack
from plugin.autosetup.safe_paths import PathRefused
from plugin.autosetup.sources import Source, SourceRefused
from plugin.cancellation import Cancelled
from plugin.manifest.checkout import read_checkout
from tests.support.autosetup_hosts import NODE, Host, Served, archive, commit, git, tar

FILES = {"__init__.py": NODE.format(name="Greet"), "install.py": "open('/tmp/ran', 'w')", "web/a.js": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "custom_nodes"
    made.mkdir()
    return made


@pytest.fixture
def repository(host: Host) -> Path:
    return host.repositories / "Pack"


async def put(
    line: PackLine, fetcher: Fetcher, *, approve: bool = False, cancelled: threading.Event | None = None
) -> list[Requirements]:
    asked: list[Requirements] = []

    async def ask(wanted: Requirements) -> bool:
        asked.append(wanted)
        return approve

    await install_pack(line, fetcher, cancelled or threading.Event(), lambda *_told: None, ask, no_packages())
    return asked


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_packages() -> list[str]:
    """An installer that notes what it was asked for instead of changing the Python of the tests."""
    script = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(pathlib.Path(sys.argv[3]).read_text())"
    return [sys.executable, "-c", script, os.environ.get("NOTED", os.devnull)]


def line(host: Host, folder: Path, commit_: str, **fields: object) -> PackLine:
    made = PackLine("0" * 16, "Pack", ("Greet",), f"{host.url}/Pack/.git", commit=commit_, folder=folder)
    return replace(made, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("single", [True, False])
async def test_an_older_commit_is_checked_out_also_where_single_commits_are_refused(
    single: bool, host: Host, fetcher: Fetcher, folder: Path, repository: Path
) -> None:
    host.gives_single_commits = single
    old = commit(repository, FILES)
    commit(repository, {"__init__.py": "raise ImportError('a newer one')"})
    await put(line(host, folder, old), fetcher)
    assert names(folder) == ["Pack"]
    assert (folder / "Pack/__init__.py").read_text() == FILES["__init__.py"]
    found = read_checkout(folder / "Pack")
    assert found is not None
    assert (found.commit, found.dirty) == (old, False)
    shallow = git(folder / "Pack", "rev-parse", "--is-shallow-repository")
    assert shallow == ("true" if single else "false")
    assert not list((folder / "Pack/.git").glob("hooks/*"))


async def test_a_repository_of_an_allowed_folder(host: Host, fetcher: Fetcher, folder: Path, repository: Path) -> None:
    old = commit(repository, FILES)
    commit(repository, {"more.py": ""})
    await put(line(host, folder, old, url=repository.as_uri()), fetcher)
    assert not (folder / "Pack/more.py").exists()


async def test_a_commit_that_is_not_there_leaves_nothing(
    host: Host, fetcher: Fetcher, folder: Path, repository: Path
) -> None:
    commit(repository, FILES)
    with pytest.raises(CommandFailed, match="has no commit"):
        await put(line(host, folder, "f" * 40), fetcher)
    assert names(folder) == []


async def test_hooks_filters_links_and_submodules_of_the_repository_do_nothing(
    host: Host, fetcher: Fetcher, folder: Path, repository: Path, tmp_path: Path
) -> None:
    other = commit(host.repositories / "Other", {"secret.py": "1"})
    marks = tmp_path / "marks"
    commit(
        repository,
        {
            **FILES,
            ".gitattributes": "* filter=lfs\n*.py filter=evil\n",
            ".lfsconfig": f"[lfs]\nurl = file://{marks}\n",
            ".gitmodules": f'[submodule "x"]\npath = x\nurl = {host.url}/Other/.git\n',
            "hooks/post-checkout": f"#!/bin/sh\ntouch {marks}\n",
        },
    )
    (repository / "link.py").symlink_to("/etc/passwd")
    commit(repository, {})
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{other},x")
    git(repository, "commit", "--quiet", "-m", "a submodule")
    head = git(repository, "rev-parse", "HEAD")
    await put(line(host, folder, head), fetcher)
    assert not marks.exists()
    assert not (folder / "Pack/link.py").is_symlink()
    assert (folder / "Pack/link.py").read_text() == "/etc/passwd"  # the link's text, not what it leads to
    assert list((folder / "Pack/x").glob("*")) == []
    assert not any("Other" in path for _, path, _ in host.asked)


async def test_the_persons_own_git_configuration_is_not_used(
    host: Host, fetcher: Fetcher, folder: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An insteadOf of the person would send git elsewhere, a helper would hand out passwords."""
    head = commit(repository, FILES)
    marks = tmp_path / "marks"
    config = tmp_path / "gitconfig"
    config.write_text(
        f'[url "file:///nowhere/"]\ninsteadOf = {host.url}/\n[credential]\nhelper = "!touch {marks}; true"\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.file:///nowhere/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", host.url)
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {marks}")
    await put(line(host, folder, head), fetcher)
    assert (folder / "Pack/__init__.py").exists()
    assert not marks.exists()


async def test_git_follows_no_redirect(host: Host, fetcher: Fetcher, folder: Path, repository: Path) -> None:
    head = commit(repository, FILES)
    host.redirects["/Moved/.git/info/refs"] = "/Pack/.git/info/refs?service=git-upload-pack"
    with pytest.raises(CommandFailed):
        await put(line(host, folder, head, url=f"{host.url}/Moved/.git"), fetcher)
    assert names(folder) == []


async def test_git_connects_to_the_pinned_address_only(host: Host, tmp_path: Path, repository: Path) -> None:
    head = commit(repository, FILES)
    port = int(host.url.rpartition(":")[2])
    source = Source(f"http://nowhere.invalid:{port}/Pack/.git", "http", "nowhere.invalid", port, trusted=True)
    clone = (source, ["127.0.0.1"], head, tmp_path / "one", threading.Event(), lambda *_told: None)
    await asyncio.to_thread(git_module.clone, *clone)
    assert (tmp_path / "one/__init__.py").exists()
    # A name that the system would resolve to the host is not asked for: the pinned address, where nobody listens, is.
    source = Source(f"http://localhost:{port}/Pack/.git", "http", "localhost", port, trusted=True)
    with pytest.raises(CommandFailed):
        await asyncio.to_thread(
            git_module.clone, source, ["127.0.0.2"], head, tmp_path / "two", threading.Event(), lambda *_told: None
        )


async def test_packages_that_were_announced_are_installed_without_asking(
    host: Host, fetcher: Fetcher, folder: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    head = commit(repository, {**FILES, "requirements.txt": "numpy>=1\npillow\n-r evil.txt\n"})
    expected = Requirements(("pillow", "numpy>=1", "scipy"), ("-r evil.txt",))
    assert await put(line(host, folder, head, expected=expected), fetcher) == []
    assert (tmp_path / "noted").read_text() == "numpy>=1\npillow\n"


@pytest.mark.parametrize("expected", [None, Requirements(("numpy",), ())])
async def test_other_packages_are_shown_first(
    expected: Requirements | None,
    host: Host,
    fetcher: Fetcher,
    folder: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    head = commit(repository, {**FILES, "requirements.txt": "numpy\nevil-package\n"})
    with pytest.raises(LeftOut):
        await put(line(host, folder, head, expected=expected), fetcher)
    assert names(folder) == []
    assert not (tmp_path / "noted").exists()
    asked = await put(line(host, folder, head, expected=expected), fetcher, approve=True)
    assert asked == [Requirements(("numpy", "evil-package"), ())]
    assert (tmp_path / "noted").read_text() == "numpy\nevil-package\n"
    assert names(folder) == ["Pack"]


async def test_a_failed_installation_of_packages_leaves_nothing(
    host: Host, fetcher: Fetcher, folder: Path, repository: Path
) -> None:
    head = commit(repository, {**FILES, "requirements.txt": "numpy\n"})

    async def ask(_wanted: Requirements) -> bool:
        return True

    failing = [sys.executable, "-c", "print('No matching distribution'); raise SystemExit(1)"]
    with pytest.raises(CommandFailed, match="No matching distribution"):
        await install_pack(line(host, folder, head), fetcher, threading.Event(), lambda *_told: None, ask, failing)
    assert names(folder) == []


@pytest.mark.parametrize("there", ["Pack", "pack", "Pack.disabled", "PACK.py"])
async def test_a_pack_is_never_overwritten(
    there: str, host: Host, fetcher: Fetcher, folder: Path, repository: Path
) -> None:
    head = commit(repository, FILES)
    (folder / there).mkdir()
    (folder / there / "mine").write_text("mine")
    with pytest.raises(PathRefused, match="overwritten"):
        await put(line(host, folder, head), fetcher)
    assert names(folder) == [there]
    assert names(folder / there) == ["mine"]


async def test_cancel_ends_git_and_leaves_nothing(host: Host, fetcher: Fetcher, folder: Path) -> None:
    stuck = asyncio.Event()

    async def hang(_request: object) -> object:
        await stuck.wait()
        raise AssertionError

    host._git = hang  # type: ignore[method-assign, assignment]
    cancelled = threading.Event()
    work = asyncio.ensure_future(put(line(host, folder, "f" * 40), fetcher, cancelled=cancelled))
    while not host.asked:
        await asyncio.sleep(0.01)
    cancelled.set()
    with pytest.raises(Cancelled):
        await work
    stuck.set()
    assert names(folder) == []


async def test_cancel_ends_the_download_of_an_archive(host: Host, fetcher: Fetcher, folder: Path) -> None:
    stuck = asyncio.Event()
    host.files["/x.zip"] = Served(b"0" * 200_000, stalls=stuck)
    wanted = line(host, folder, "", method="archive", archive=f"{host.url}/x.zip")
    cancelled = threading.Event()
    work = asyncio.ensure_future(put(wanted, fetcher, cancelled=cancelled))
    while not host.asked:
        await asyncio.sleep(0.01)
    cancelled.set()
    with pytest.raises(Cancelled):
        async with asyncio.timeout(60):
            await work
    stuck.set()
    assert names(folder) == []


async def test_a_repository_that_grows_too_large_is_given_up(
    host: Host, fetcher: Fetcher, folder: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "_MAX_BYTES", 10)
    with pytest.raises(CommandFailed, match="too much"):
        await put(line(host, folder, commit(repository, FILES)), fetcher)
    assert names(folder) == []


async def test_an_archive_instead_of_git(host: Host, fetcher: Fetcher, folder: Path, repository: Path) -> None:
    head = commit(repository, FILES)
    host.files["/Pack/archive.tar.gz"] = Served(archive(repository, head, "Pack-abc"))
    wanted = line(host, folder, head, method="archive", archive=f"{host.url}/Pack/archive.tar.gz")
    await put(wanted, fetcher)
    assert (folder / "Pack/__init__.py").read_text() == FILES["__init__.py"]
    assert not (folder / "Pack/.tracking").exists()


async def test_an_archive_of_the_registry_is_marked_as_such(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files["/x.zip"] = Served(tar(**{"a.py": b"1", "b/c.py": b"2"}))
    await put(line(host, folder, "", method="archive", archive=f"{host.url}/x.zip", version="1.2.3"), fetcher)
    assert (folder / "Pack/.tracking").read_text() == "a.py\nb/c.py"


async def test_a_bad_archive_leaves_nothing(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files |= {"/evil": Served(tar(**{"../x.py": b"1"})), "/half": Served(tar(**{"a.py": b"1"}), breaks_at=[20])}
    for name, error in {"evil": ArchiveRefused, "half": FetchFailed, "none": FetchFailed}.items():
        with pytest.raises(error):
            await put(line(host, folder, "", method="archive", archive=f"{host.url}/{name}"), fetcher)
    with pytest.raises(SourceRefused):
        await put(line(host, folder, "", method="archive", archive="file:///etc/passwd"), fetcher)
    assert names(folder) == []


def test_what_a_killed_installation_left_is_removed(folder: Path) -> None:
    (folder / ".runflow-abc.disabled/Pack").mkdir(parents=True)
    (folder / "Mine.disabled").mkdir()
    clean_up(folder)
    assert names(folder) == ["Mine.disabled"]
