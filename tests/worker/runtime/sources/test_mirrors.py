"""Mirrors of real repositories, well-meant and hostile ones, and the trees that are written from them."""

import fcntl
import multiprocessing
import os
import ssl
import stat
import time
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.runtime.commands import SourceRefused
from runflow.worker.runtime.sources import guarded_git
from runflow.worker.runtime.sources.mirrors import Limits, Mirrors
from tests.support.certificate import make_certificate
from tests.support.comfyui_trees import git
from tests.support.http_server import QuietHandler, serving
from tests.support.repositories import add_module, commit_files, commit_tree, write_object

NOWHERE = "c" * 40


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return make_mirrors(tmp_path)


def make_mirrors(tmp_path: Path, **limits: int) -> Mirrors:
    return Mirrors(tmp_path / "store", allowed_prefixes=[f"file://{tmp_path}/"], limits=Limits(**limits))


def test_a_commit_becomes_a_tree_without_git(tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    first = commit_files(
        repository, {"nodes.py": "1", "web/a b.js": "x\r\n", "run.sh": "#!"}, {"web/link": "../nodes.py"}
    )
    (repository / "run.sh").chmod(0o755)
    commit_files(repository, {"nodes.py": "2"})
    found = mirrors.checkout(repository.as_uri(), first, tmp_path / "into")
    assert sorted(path.relative_to(found.tree).as_posix() for path in found.tree.rglob("*")) == [
        *("nodes.py", "run.sh", "web", "web/a b.js", "web/link"),
    ]
    assert (found.tree / "nodes.py").read_text() == "1"
    assert (found.tree / "web/a b.js").read_bytes() == b"x\r\n"
    assert (found.tree / "web/link").read_text() == "1"
    assert found.sources == ((repository.as_uri(), first),)
    second = mirrors.checkout(repository.as_uri(), git(repository, "rev-parse", "HEAD"), tmp_path / "second")
    assert (second.tree / "nodes.py").read_text() == "2"
    assert stat.S_IMODE((second.tree / "run.sh").stat().st_mode) & 0o111


def use_file(mirrors: Mirrors, origin: str) -> Path:
    """Return the file whose time is that of a mirror's last use."""
    return mirrors.path(origin).with_suffix(".use")


def test_a_mirror_that_nobody_used_for_long_is_removed_and_fetched_again(tmp_path: Path, mirrors: Mirrors) -> None:
    commits = {name: commit_files(tmp_path / name, {"a": name}) for name in ("old", "new", "from before")}
    origins = {name: (tmp_path / name).as_uri() for name in commits}
    for name, commit in commits.items():
        mirrors.fetch(origins[name], commit)
    long_ago = time.time() - 10_000
    os.utime(use_file(mirrors, origins["old"]), (long_ago, long_ago))
    use_file(mirrors, origins["from before"]).unlink()  # as workers had none
    os.utime(mirrors.path(origins["from before"]), (long_ago, long_ago))
    (mirrors.folder / ".removed-by-one-that-was-killed").mkdir()
    mirrors.evict(5_000)
    assert [path for path, _ in mirrors.uses()] == [mirrors.path(origins["new"])]
    assert not list(mirrors.folder.glob(".removed-*"))
    mirrors.checkout(origins["old"], commits["old"], tmp_path / "into")
    assert (tmp_path / "into/a").read_text() == "old"


def test_a_mirror_that_is_fetched_into_or_was_used_meanwhile_stays(tmp_path: Path, mirrors: Mirrors) -> None:
    origin, commit = (tmp_path / "repo").as_uri(), commit_files(tmp_path / "repo", {"a": "1"})
    mirrors.fetch(origin, commit)
    mirror, now = mirrors.path(origin), time.time() + 1
    for kind, how in (("lock", fcntl.LOCK_EX), ("use", fcntl.LOCK_SH)):
        with mirror.with_suffix(f".{kind}").open("a") as file:
            fcntl.flock(file, how)
            assert not mirrors.remove_unused(mirror, now)
    before = now - 1_000
    os.utime(use_file(mirrors, origin), (before, before))
    mirrors.fetch(origin, commit)
    assert not mirrors.remove_unused(mirror, before)
    assert mirrors.has(origin, commit)
    assert mirrors.remove_unused(mirror, now)
    assert not mirrors.has(origin, commit)
    assert not mirrors.remove_unused(mirror, now)


def test_what_is_there_is_not_fetched_again(tmp_path: Path, mirrors: Mirrors) -> None:
    origin, commit = (tmp_path / "repo").as_uri(), commit_files(tmp_path / "repo", {"a": "1"})
    assert not mirrors.has(origin, commit)
    mirrors.fetch(origin, commit)
    (tmp_path / "repo").rename(tmp_path / "gone")
    assert mirrors.has(origin, commit)
    mirrors.checkout(origin + ".git/", commit, tmp_path / "into")
    with pytest.raises(SourceRefused, match=NOWHERE):
        mirrors.fetch(origin, NOWHERE)


def test_a_host_that_gives_no_single_commit_gives_everything(tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    older, old, new = (commit_files(repository, {"a": text}) for text in ("older", "old", "new"))
    mirrors.fetch(repository.as_uri(), new)
    mirror = mirrors.path(repository.as_uri())
    assert (mirror / "shallow").exists()
    # The older protocol lets the host refuse what no branch points at, and this one does.
    git(mirror, "config", "protocol.version", "0")
    for commit in (older, old):
        mirrors.fetch(repository.as_uri(), commit)
        assert mirrors.read(repository.as_uri(), commit, "a", 100) == {older: b"older", old: b"old"}[commit]
    with pytest.raises(SourceRefused, match=f"has no commit {NOWHERE}"):
        mirrors.fetch(repository.as_uri(), NOWHERE)


def test_a_plain_file_server_gives_everything(tmp_path: Path) -> None:
    """What git calls dumb HTTP: it knows no depth."""
    repository = tmp_path / "files/repo"
    commit = commit_files(repository, {"a": "1"})
    commit_files(repository, {"a": "2"})
    git(repository, "update-server-info")

    class Files(QuietHandler, SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            SimpleHTTPRequestHandler.__init__(self, *arguments, directory=str(tmp_path / "files"))

    with serving(Files) as url:
        mirrors = Mirrors(tmp_path / "store", allowed_prefixes=[f"{url}/"])
        found = mirrors.checkout(f"{url}/repo/.git", commit, tmp_path / "into")
    assert (found.tree / "a").read_text() == "1"


def test_a_host_that_asks_who_we_are_gets_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a prompt, nor the user's .netrc, nor a helper of the user's settings."""
    asked: list[str | None] = []
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    (tmp_path / ".gitconfig").write_text('[credential]\n\thelper = "!echo username=ann; echo password=secret; #"\n')
    monkeypatch.setenv("HOME", str(tmp_path))

    class Asking(QuietHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

    with serving(Asking) as url:
        mirrors = Mirrors(tmp_path / "store", allowed_prefixes=[f"{url}/"])
        with pytest.raises(SourceRefused, match="Is the address public"):
            mirrors.fetch(f"{url}/repo", NOWHERE)
    assert set(asked) == {None}


def test_a_host_leads_to_no_place_behind_another_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the addresses of clouds that tell a machine's credentials; those speak plain HTTP."""
    made = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.chain, made.key)
    asked: list[str] = []

    class Inner(QuietHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    class Leading(QuietHandler):
        def do_GET(self) -> None:
            asked.append("host")
            self.send_response(302)
            self.send_header("Location", inner + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Inner) as inner, serving(Leading, tls=tls) as host:
        # Another host may be asked by that protocol.
        mirrors = Mirrors(tmp_path / "store", allowed_prefixes=["http://git.example/"])
        with pytest.raises(SourceRefused, match=f"{host}/repo could not be fetched"):
            mirrors.fetch(f"{host}/repo", NOWHERE)
        with pytest.raises(SourceRefused, match="does not answer"):
            mirrors.look_up(f"{host}/repo", None)
    assert {*asked} == {"host"}


def test_a_fetch_that_was_killed_is_no_obstacle(tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    first = commit_files(repository, {"a": "1"})
    mirrors.fetch(repository.as_uri(), first)
    mirror = mirrors.path(repository.as_uri())
    for left in ("shallow.lock", "refs/runflow/x.lock", "objects/pack/tmp_pack_1"):
        (mirror / left).write_text("")
    second = commit_files(repository, {"a": "2"})
    mirrors.fetch(repository.as_uri(), second)
    assert not list(mirror.rglob("*.lock"))


def fetch_in_process(folder: Path, origin: str, commit: str) -> None:
    make_mirrors(folder).fetch(origin, commit)


def test_processes_share_a_mirror(tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    commits = [commit_files(repository, {"a": str(n)}) for n in range(3)]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=fetch_in_process, args=(tmp_path, repository.as_uri(), one)) for one in commits * 2
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert all(mirrors.has(repository.as_uri(), one) for one in commits)


def test_one_file_of_a_commit_is_read_without_a_tree(tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    commit = commit_files(repository, {"a.txt": b"\0\xff\n", "b/c*": "star"}, {"link": "a.txt", "d": "b"})
    origin = repository.as_uri()
    mirrors.fetch(origin, commit)
    assert mirrors.read(origin, commit, "a.txt", 3) == b"\0\xff\n"
    assert mirrors.read(origin, commit, "b/c*", 10) == b"star"
    for path in ("link", "d/c*", "b", "*.txt", "missing", "a.txt/x", "../a.txt"):
        assert mirrors.read(origin, commit, path, 100) is None
    with pytest.raises(SourceRefused, match=r"a\.txt .* 3 bytes; 2 are read"):
        mirrors.read(origin, commit, "a.txt", 2)


def test_submodules_come_at_their_commits_and_are_told_before(tmp_path: Path, mirrors: Mirrors) -> None:
    inner, outer, top = (tmp_path / "git" / name for name in ("inner", "outer", "top"))
    inner_commit = commit_files(inner, {"deep.py": "deep"})
    commit_files(inner, {"deep.py": "newer"})
    commit_files(outer, {"outer.py": ""})
    outer_commit = add_module(outer, "libs/inner", "../inner", inner_commit)
    commit_files(top, {"top.py": ""})
    top_commit = add_module(top, "outer", outer.as_uri(), outer_commit)
    told: list[tuple[str, str]] = []
    there: list[bool] = []

    def may_fetch(origin: str, commit: str) -> None:
        told.append((origin, commit))
        there.append(mirrors.path(origin).exists())

    found = mirrors.checkout(top.as_uri(), top_commit, tmp_path / "into", may_fetch)
    assert (found.tree / "outer/libs/inner/deep.py").read_text() == "deep"
    assert told == [(top.as_uri(), top_commit), (outer.as_uri(), outer_commit), (inner.as_uri(), inner_commit)]
    assert there == [False] * 3
    assert found.sources == tuple(told)
    assert not list(found.tree.rglob(".git"))


def test_a_source_that_may_not_be_fetched_is_not(tmp_path: Path, mirrors: Mirrors) -> None:
    commit_files(tmp_path / "other", {"a": ""})
    other = git(tmp_path / "other", "rev-parse", "HEAD")
    commit_files(tmp_path / "repo", {"a": ""})
    commit = add_module(tmp_path / "repo", "sub", (tmp_path / "other").as_uri(), other)

    def may_fetch(origin: str, _: str) -> None:
        if origin.endswith("other"):
            raise PermissionError(origin)

    with pytest.raises(PermissionError):
        mirrors.checkout((tmp_path / "repo").as_uri(), commit, tmp_path / "into", may_fetch)
    assert not mirrors.path((tmp_path / "other").as_uri()).exists()
    assert not (tmp_path / "into").exists()


def test_a_submodule_without_an_address_stays_empty_and_is_noted(tmp_path: Path, mirrors: Mirrors) -> None:
    commit_files(tmp_path / "repo", {"a": ""})
    add_module(tmp_path / "repo", "sub", "https://host/x", NOWHERE)
    (tmp_path / "repo/.gitmodules").write_text("")
    git(tmp_path / "repo", "add", ".gitmodules")
    git(tmp_path / "repo", "commit", "--quiet", "-m", "no address")
    commit = git(tmp_path / "repo", "rev-parse", "HEAD")
    found = mirrors.checkout((tmp_path / "repo").as_uri(), commit, tmp_path / "into")
    assert "records sub as a submodule without an address" in found.notes[0]


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% PROOF",
        "file:///etc",
        "/etc",
        "--upload-pack=touch PROOF",
        "../../../../../../../../x",
        "http://127.0.0.1:9/x",
        "https://user:secret@host/x",
    ],
)
def test_a_submodule_from_elsewhere_is_refused(url: str, tmp_path: Path, mirrors: Mirrors) -> None:
    proof = tmp_path / "proof"
    commit_files(tmp_path / "repo", {"a": ""})
    commit = add_module(tmp_path / "repo", "sub", url.replace("PROOF", str(proof)), NOWHERE)
    # What git's own check says of it is enough; ours stands for where git has none.
    with pytest.raises(SourceRefused) as refused:
        mirrors.checkout((tmp_path / "repo").as_uri(), commit, tmp_path / "into")
    assert "secret" not in str(refused.value)
    assert not proof.exists()
    assert not (tmp_path / "into").exists()


def test_submodules_have_bounds(tmp_path: Path) -> None:
    """A repository whose submodules go deeper than allowed, and one with more of them than allowed."""
    commit = commit_files(tmp_path / "git/level0", {"a": ""})
    for level in range(1, 4):
        commit_files(tmp_path / f"git/level{level}", {"a": ""})
        commit = add_module(tmp_path / f"git/level{level}", "sub", f"../level{level - 1}", commit)
    origin = (tmp_path / "git/level3").as_uri()
    make_mirrors(tmp_path, depth=3).checkout(origin, commit, tmp_path / "deep")
    with pytest.raises(SourceRefused, match="more than 2 levels"):
        make_mirrors(tmp_path, depth=2).checkout(origin, commit, tmp_path / "into")
    with pytest.raises(SourceRefused, match="more than 2 submodules"):
        make_mirrors(tmp_path, modules=2).checkout(origin, commit, tmp_path / "into")


def test_trees_have_bounds(tmp_path: Path) -> None:
    commit = commit_files(tmp_path / "repo", {"a": "x" * 100, "b": "x" * 100})
    origin = (tmp_path / "repo").as_uri()
    for limits in ({"files": 1}, {"bytes": 150}):
        with pytest.raises(SourceRefused, match="has more than 1"):
            make_mirrors(tmp_path, **limits).checkout(origin, commit, tmp_path / "into")


def test_a_few_trees_that_hold_ten_thousand_million_paths_are_refused(tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    commit_files(repository, {"a": ""})
    kind, inner = "100644", write_object(repository, "blob", b"x")
    for _ in range(10):
        rows = b"".join(f"{kind} {name}".encode() + b"\0" + bytes.fromhex(inner) for name in range(10))
        kind, inner = "40000", write_object(repository, "tree", rows)
    commit = commit_tree(repository, [(kind, inner, "bomb")])
    with pytest.raises(SourceRefused, match="more paths than can be listed"):
        mirrors.checkout(repository.as_uri(), commit, tmp_path / "into")


def test_a_transfer_has_a_bound(tmp_path: Path) -> None:
    noise = bytes(byte for n in range(20_000) for byte in (n * 7919 % 65_521).to_bytes(2, "big"))
    commit = commit_files(tmp_path / "repo", {"a": noise})
    with pytest.raises(SourceRefused, match="8,192 bytes"):
        make_mirrors(tmp_path, fetch_bytes=8_192).fetch((tmp_path / "repo").as_uri(), commit)


@pytest.mark.parametrize(
    "links",
    [
        {"out": "/etc/passwd"},
        {"out": "../elsewhere"},
        {"deep/out": "../../elsewhere"},
        {"out": "out"},
        # Each looks as if it stayed inside; `hop/..` is above the tree, for hop leads to its top.
        {"deep/er/hop": "../../top", "out": "deep/er/hop/../.."},
    ],
)
def test_a_link_out_of_the_tree_is_refused_by_name(links: dict[str, str], tmp_path: Path, mirrors: Mirrors) -> None:
    commit = commit_files(tmp_path / "repo", {"top/file": ""}, links)
    with pytest.raises(SourceRefused, match="out', which leads out of it"):
        mirrors.checkout((tmp_path / "repo").as_uri(), commit, tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("name", [".git", ".GIT", "..", "git~1", ".git ", ".gi\u200ct", "a\\..\\..\\b", ".git::$INDEX"])
def test_a_path_that_git_would_not_make_is_refused(name: str, tmp_path: Path, mirrors: Mirrors) -> None:
    repository = tmp_path / "repo"
    commit_files(repository, {"a": ""})
    commit = commit_tree(repository, [("40000", some_tree(repository), name)])
    with pytest.raises(SourceRefused):
        mirrors.checkout(repository.as_uri(), commit, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def some_tree(repository: Path) -> str:
    blob = write_object(repository, "blob", b"[core]\n")
    return write_object(repository, "tree", b"100644 config\0" + bytes.fromhex(blob))


def test_what_git_lets_pass_is_refused_by_us(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same paths, from a git that does not look at what arrives."""
    monkeypatch.setitem(guarded_git.SETTINGS, "fetch.fsckObjects", "false")
    repository = tmp_path / "repo"
    commit_files(repository, {"a": ""})
    for n, name in enumerate([".git", "git~1", "..", "a\\b"]):
        commit = commit_tree(repository, [("40000", some_tree(repository), name)])
        with pytest.raises(SourceRefused, match="It is not taken"):
            mirrors.checkout(repository.as_uri(), commit, tmp_path / f"into{n}")
    link = write_object(repository, "blob", str(tmp_path).encode())
    rows = [("120000", link, "A"), ("40000", some_tree(repository), "a")]
    commit = commit_tree(repository, rows)
    with pytest.raises(SourceRefused, match="below a symbolic link"):
        mirrors.checkout(repository.as_uri(), commit, tmp_path / "into")


def test_no_program_of_a_repository_or_of_ours_runs(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks by template and by setting, filters, an askpass, a fsmonitor: each would leave a file."""
    proof = tmp_path / "proof"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    script.chmod(0o755)
    hooks = tmp_path / "template/hooks"
    hooks.mkdir(parents=True)
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "post-merge"):
        (hooks / hook).symlink_to(script)
    config = tmp_path / "gitconfig"
    config.write_text(
        f'[filter "lfs"]\n\tsmudge = {script}\n\tprocess = {script}\n\trequired = true\n'
        f'[filter "x"]\n\tsmudge = {script}\n[core]\n\thooksPath = {hooks}\n\tfsmonitor = {script}\n'
        f"[credential]\n\thelper = !{script}\n[init]\n\ttemplateDir = {tmp_path}/template\n"
    )
    for name, value in {
        "GIT_CONFIG_GLOBAL": config,
        "GIT_CONFIG_SYSTEM": config,
        "GIT_TEMPLATE_DIR": tmp_path / "template",
        "GIT_DIR": tmp_path / "nowhere",
        "GIT_ASKPASS": script,
        "GIT_SSH_COMMAND": script,
        "GIT_EXTERNAL_DIFF": script,
    }.items():
        monkeypatch.setenv(name, str(value))
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    with monkeypatch.context() as plain:
        for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_TEMPLATE_DIR", "GIT_DIR"):
            plain.delenv(name)
        files = {"big.bin": pointer, "x.txt": "x", ".gitattributes": "*.bin filter=lfs\n*.txt filter=x ident\n"}
        commit = commit_files(tmp_path / "repo", files)
    found = mirrors.checkout((tmp_path / "repo").as_uri(), commit, tmp_path / "into")
    assert (found.tree / "big.bin").read_text() == pointer
    assert not proof.exists()


def test_only_full_commits_of_allowed_places_are_fetched(tmp_path: Path, mirrors: Mirrors) -> None:
    commit = commit_files(tmp_path / "repo", {"a": ""})
    for origin, asked in [("ext::sh", commit), ("/etc", commit), ((tmp_path / "repo").as_uri(), "main")]:
        with pytest.raises(SourceRefused):
            mirrors.fetch(origin, asked)
    assert not mirrors.folder.exists()


def test_a_folder_that_is_there_stays_untouched(tmp_path: Path, mirrors: Mirrors) -> None:
    commit = commit_files(tmp_path / "repo", {"a": ""})
    (tmp_path / "into").mkdir()
    with pytest.raises(SourceRefused, match="there already"):
        mirrors.checkout((tmp_path / "repo").as_uri(), commit, tmp_path / "into")
    assert (tmp_path / "into").is_dir()
