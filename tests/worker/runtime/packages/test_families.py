"""One package for each family that owns the same files, whoever asks for which."""

from packaging.requirements import Requirement

from runflow.worker.runtime.packages.families import replaced, unified


def names(*asked: str, seen: set[str] | None = None, cuda: bool = False) -> tuple[list[str], list[str]]:
    requirements, overrides = unified([Requirement(one) for one in asked], seen or set(), cuda)
    return [str(one) for one in requirements], [line.partition(" ")[0] for line in overrides]


def test_what_is_no_family_stays_as_it_is() -> None:
    assert names("numpy<2", "opencv-contrib-python-headless") == (["numpy<2", "opencv-contrib-python-headless"], [])


def test_any_opencv_becomes_one_with_the_versions_that_were_asked() -> None:
    requirements, overrides = names("OpenCV_python[x]<5 ; python_version > '3'", "opencv-python-headless>=4.7", "numpy")
    assert requirements == [
        'opencv-contrib-python-headless<5; python_version > "3"',
        "opencv-contrib-python-headless>=4.7",
        "numpy",
        "opencv-contrib-python-headless",
    ]
    assert overrides == ["opencv-contrib-python", "opencv-python", "opencv-python-headless"]


def test_onnxruntime_is_one_by_the_machine() -> None:
    assert names("onnxruntime-gpu", "onnxruntime")[1] == ["onnxruntime-gpu"]
    assert names("onnxruntime", cuda=True) == (["onnxruntime-gpu", "onnxruntime-gpu"], ["onnxruntime"])
    assert names("onnxruntime") == (["onnxruntime"], [])


def test_what_something_depends_on_counts_too() -> None:
    seen = replaced({"numpy", "opencv-python"}, cuda=False)
    assert seen == {"opencv-python"}
    assert names("numpy", seen=seen)[0] == ["numpy", "opencv-contrib-python-headless"]
