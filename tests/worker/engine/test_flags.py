"""Only flags that a ComfyUI knows are passed to it."""

from pathlib import Path

from runflow.worker.engine.flags import engine_arguments


def comfy_with(tmp_path: Path, *flags: str) -> Path:
    (tmp_path / "comfy").mkdir(exist_ok=True)
    lines = [f'parser.add_argument("{flag}")' for flag in flags]
    (tmp_path / "comfy/cli_args.py").write_text("\n".join(lines))
    return tmp_path


def test_an_old_comfyui_gets_only_what_it_knows(tmp_path: Path) -> None:
    comfy = comfy_with(tmp_path, "--disable-auto-launch", "--cpu")
    found = engine_arguments(comfy, Path("/b"), 81, cpu=True, cache=False, metadata=False, api_nodes=False)
    assert found == [
        *("--listen", "127.0.0.1", "--port", "81", "--base-directory", "/b"),
        *("--disable-auto-launch", "--cpu"),
    ]


def test_a_new_one_gets_a_database_of_its_own_and_no_cache(tmp_path: Path) -> None:
    every = ("--database-url", "--disable-auto-launch", "--disable-metadata", "--cache-none", "--disable-api-nodes")
    comfy = comfy_with(tmp_path, *every)
    found = engine_arguments(comfy, Path("/b"), 81, cpu=True, cache=False, metadata=False, api_nodes=False)
    assert set(every) <= set(found)
    assert "sqlite:////b/user/comfyui.db" in found
    kept = engine_arguments(comfy, Path("/b"), 81, cpu=False, cache=True, metadata=True, api_nodes=True)
    assert not {"--cache-none", "--disable-metadata", "--disable-api-nodes"} & set(kept)
