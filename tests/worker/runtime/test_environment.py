"""ComfyUI's requirements as we install them: torch apart, media left out, the forgotten one added."""

from pathlib import Path

from runflow.worker.runtime.environment import requirements_of

FILE = """\
comfyui-frontend-package==1.47.12
comfyui-workflow-templates==0.11.27
comfyui_embedded_docs==0.5.9
torch
torchsde
torchvision>=0.1
TorchAudio
numpy>=1.25.0

#non essential dependencies:
spandrel  # a comment
"""


def test_lean_leaves_out_torch_and_media(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(FILE)
    lean = ["comfyui-frontend-package==1.47.12", "torchsde", "numpy>=1.25.0", "spandrel", "requests"]
    assert requirements_of(tmp_path, full=False) == lean


def test_full_has_the_media(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(FILE + "requests\n")
    full = requirements_of(tmp_path, full=True)
    assert "comfyui-workflow-templates==0.11.27" in full
    assert full.count("requests") == 1
