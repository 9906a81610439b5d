"""Which files of an environment two packages own, by what real wheels recorded when they were installed."""

import sys
from pathlib import Path

from runflow.worker.runtime.commands import run
from runflow.worker.runtime.environment import Environment, find_uv
from runflow.worker.runtime.index_settings import Indexes, IndexSettings
from runflow.worker.runtime.packages.record_overlap import overlap_told, overlapping
from runflow.worker.runtime.report import LogReporter
from tests.support.package_index import build_wheel

RECORD = 'both.py,,\n\n"a, b.py",sha256=x,1\n__pycache__/both.cpython-311.pyc,,\nmeta.egg-info/PKG-INFO,,\n'


def test_files_of_two_packages_are_named_with_both(tmp_path: Path) -> None:
    environment = Environment(tmp_path / ".venv", Indexes(IndexSettings(), IndexSettings(no_index=True)), find_uv())
    assert environment.uv is not None, "uv is one of our dependencies"
    run([environment.uv, "venv", "--quiet", "--python", sys.executable, environment.root], what="uv")
    wheels = [
        build_wheel(tmp_path, "opencv-python", "4.13", {"cv2/__init__.py": "a = 1", "cv2/data.txt": "same"}),
        build_wheel(tmp_path, "opencv-python-headless", "4.12", {"cv2/__init__.py": "a = 2", "cv2/data.txt": "same"}),
        build_wheel(tmp_path, "nvidia-one", "1", {"nvidia/__init__.py": "", "nvidia/one/__init__.py": ""}),
        build_wheel(tmp_path, "nvidia-two", "1", {"nvidia/__init__.py": "", "nvidia/two/__init__.py": ""}),
    ]
    environment.install([str(one) for one in wheels], LogReporter(), no_deps=True)
    assert overlapping(environment.site_packages) == [
        ("cv2/__init__.py", ["opencv_python 4.13", "opencv_python_headless 4.12"])
    ]


def test_a_record_that_says_no_content_counts(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}-1.dist-info").mkdir()
        (tmp_path / f"{name}-1.dist-info/RECORD").write_text(RECORD)
    assert overlapping(tmp_path) == [("both.py", ["one 1", "two 1"])]


def test_an_error_names_the_packages_and_some_of_the_files() -> None:
    found = [(f"cv2/{n}.py", ["one 1", "two 2"]) for n in range(7)]
    said = overlap_told(found)
    assert said.startswith("7 installed files belong to two packages (one 1 and two 2): cv2/0.py, cv2/1.py")
    assert "cv2/5.py" not in said
