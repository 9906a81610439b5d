"""An engine sees neither our settings nor anybody's secrets."""

from pathlib import Path

from runflow.worker.engine.scrub import scrubbed_environment


def test_an_allow_list_and_folders_of_its_own() -> None:
    environ = {
        "PATH": "/bin",
        "LANG": "C",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "1",
        "HOME": "/root",
        "RUNFLOW_DATABASE_URL": "postgresql://x",
        "RUNFLOW_SECRET_KEY": "x",
        "PGPASSWORD": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "TORCH_API_TOKEN": "x",
        "HF_TOKEN": "x",
        "HTTPS_PROXY": "http://proxy:1",
        "HTTP_PROXY": "http://ann:pw@proxy:1",
        "PYTHONPATH": "/evil",
    }
    seen = scrubbed_environment(environ, Path("/b"), {"MY_SETTING": "1"})
    assert {name: seen[name] for name in environ if name in seen} == {
        "PATH": "/bin",
        "LANG": "C",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "1",
        "HOME": "/b/home",
        "HTTPS_PROXY": "http://proxy:1",
    }
    assert seen["TMPDIR"] == "/b/tmp"
    assert seen["MY_SETTING"] == "1"


def test_idle_threads_sleep_unless_the_operator_says_otherwise(tmp_path: Path) -> None:
    assert scrubbed_environment({}, tmp_path)["OMP_WAIT_POLICY"] == "passive"
    assert scrubbed_environment({"OMP_WAIT_POLICY": "active"}, tmp_path)["OMP_WAIT_POLICY"] == "active"


def test_caches_of_libraries_are_in_its_home_wherever_the_operator_has_them(tmp_path: Path) -> None:
    environ = {"TORCH_HOME": "/mine", "HF_HOME": "/mine", "HF_HUB_CACHE": "/mine", "XDG_CACHE_HOME": "/mine"}
    seen = scrubbed_environment(environ, Path("/b"), network=False)
    assert (seen["XDG_CACHE_HOME"], seen["TORCH_HOME"]) == ("/b/home/.cache", "/b/home/.cache/torch")
    assert "/mine" not in seen.values()
    assert seen["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in scrubbed_environment(environ, Path("/b"), network=True)
