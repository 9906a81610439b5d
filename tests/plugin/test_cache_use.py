"""How the plugin notes what nodes take from caches, by watching this process open files."""

import subprocess
import sys
from pathlib import Path

import pytest

from plugin.cache_use import CacheUse, watched
from plugin.manifest.cached_models import CacheFolders, Use
from tests.support.catalogue import write

MAIN = Use("huggingface", "models--org--name", "refs/main")


@pytest.fixture
def folders(tmp_path: Path) -> CacheFolders:
    return CacheFolders(tmp_path / "hub", tmp_path / "torch")


def test_what_is_opened_is_kept_by_the_classes_that_execute(folders: CacheFolders) -> None:
    executing = {"First"}
    uses = CacheUse(folders, lambda: executing)
    main = folders.hub / "models--org--name/refs/main"
    for path in (str(main), main, str(main).encode(), 5, None, str(folders.hub), "/elsewhere", "relative"):
        uses.hear("open", (path, "r", 0))
    executing = {"Second"}
    uses.hear("open", (str(folders.torch / "checkpoints/net.pth"), "r", 0))
    uses.hear("os.listdir", (str(main),))
    assert uses.of(["First"]) == {MAIN}
    assert uses.of({"Second", "Third"}) == {Use("torch", "checkpoints", "net.pth")}
    assert uses.of(["Third"]) == set()


def test_what_nobody_executes_for_belongs_to_no_workflow(folders: CacheFolders) -> None:
    uses = CacheUse(folders)
    uses.hear("open", (str(folders.hub / "models--org--name/refs/main"), "r", 0))
    assert uses.of(["First"]) == set()


def test_a_folder_is_known_by_each_of_its_names(tmp_path: Path) -> None:
    write(tmp_path / "disk/hub/models--org--name/refs/main")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    uses = CacheUse(CacheFolders(tmp_path / "link/hub", tmp_path / "torch"), lambda: ["First"])
    uses.hear("open", (str(tmp_path / "disk/hub/models--org--name/refs/main"), "r", 0))
    assert uses.of(["First"]) == {MAIN}


def test_a_fault_of_ours_is_not_the_fault_of_who_opens_a_file(folders: CacheFolders) -> None:
    def fail() -> list[str]:
        raise RuntimeError("ours")

    uses = CacheUse(folders, fail)
    uses.hear("open", (str(folders.hub / "models--org--name/refs/main"), "r", 0))
    uses.hear("open", ())
    uses.hear("urllib.Request", (object(),))


def test_there_is_a_most_of_everything(folders: CacheFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_MOST_USES", "_MOST_ADDRESSES"):
        monkeypatch.setattr(f"plugin.cache_use.{limit}", 3)
    uses = CacheUse(folders, lambda: ["First"])
    for number in range(9):
        uses.hear("open", (str(folders.torch / f"checkpoints/{number}.pth"), "r", 0))
        uses.hear("urllib.Request", (f"https://host/{number}.pth", None, {}, "GET"))
    assert len(uses.of(["First"])) == 3
    assert list(uses.addresses) == ["6.pth", "7.pth", "8.pth"]


def test_addresses_that_may_hold_a_secret_are_not_kept(folders: CacheFolders) -> None:
    uses = CacheUse(folders)
    for url in ("https://host/a/net.pth", "https://host/x.pth?token=1", "https://me:you@host/y.pth", "file:///z.pth"):
        uses.hear("urllib.Request", (url, None, {}, "GET"))
    assert uses.addresses == {"net.pth": "https://host/a/net.pth"}


def test_without_a_watch_nothing_is_known() -> None:
    assert watched().of(["First"]) == set()


PROGRAM = """
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from plugin import cache_use
prompt = {"1": {"class_type": "First", "inputs": {}}, "2": {"class_type": "Second", "inputs": {}}}
queue = SimpleNamespace(currently_running={0: (0, "id", prompt, {}, [])}, history={})
server = ModuleType("server")
server.PromptServer = SimpleNamespace(instance=SimpleNamespace(prompt_queue=queue, last_node_id="2"))
sys.modules["server"] = server
cache_use.watch()
cache_use.watch()
main = Path(sys.argv[1])
main.read_text()
print(*[sorted(use.part for use in cache_use.watched().of([name])) for name in ("First", "Second")])
server.PromptServer.instance.last_node_id = None
main.with_name("other").read_text()
print(*[sorted(use.part for use in cache_use.watched().of([name])) for name in ("First", "Second")])
"""


def test_python_tells_of_files_that_a_node_opens(tmp_path: Path) -> None:
    """In a process of its own: a watch ends only with that."""
    main = write(tmp_path / "hub/models--org--name/refs/main", "x")
    write(main.with_name("other"), "x")
    environment = {"HF_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(main)], env=environment, capture_output=True, text=True, check=True
    )
    node, prompt = told.stdout.splitlines()
    assert node == "[] ['refs/main']"
    assert prompt == "['refs/other'] ['refs/main', 'refs/other']", "else each node of the prompt may have been it"
