"""What a pack's files ask for: packages by name are taken, everything else is named and not followed."""

import pytest

from runflow.worker.runtime.packages.requirements import (
    MOST_BYTES,
    MOST_LINES,
    GitRequirement,
    PackRequirements,
    RequirementsRefused,
    requirements_of_pack,
)

COMMIT = "d" * 40


def read(requirements: str | bytes | None = None, project: str | bytes | None = None) -> PackRequirements:
    files = {"requirements.txt": requirements, "pyproject.toml": project}
    given = {name: text for name, text in files.items() if text is not None}
    return requirements_of_pack(
        "pack", {name: text.encode() if isinstance(text, str) else text for name, text in given.items()}.get
    )


def test_names_versions_extras_and_markers_are_taken() -> None:
    text = """\
# a comment
numpy<2   # why
transformers[torch,vision] >= 4.40, <5 ; python_version >= "3.9"

scipy \\
    >=1.10 \\
    --hash=sha256:abc
NumPy<2
"""
    assert read(requirements=text).requirements == (
        "numpy<2",
        'transformers[torch,vision]<5,>=4.40; python_version >= "3.9"',
        "scipy>=1.10",
        "NumPy<2",
    )
    assert read(requirements=text).notes == ()


def test_the_file_of_requirements_goes_before_the_project() -> None:
    project = '[project]\ndependencies = ["scipy", "torch", "-e .", "bad line here"]\n'
    both = read(requirements="numpy\n", project=project)
    assert (both.source, both.requirements) == ("requirements.txt", ("numpy",))
    empty = read(requirements="", project=project)
    assert (empty.source, empty.requirements) == ("requirements.txt", ())
    only = read(project=project)
    assert (only.source, only.requirements, len(only.notes)) == ("pyproject.toml", ("scipy",), 3)
    assert read() == PackRequirements("pack")


@pytest.mark.parametrize("project", [b"\xff", b"not = [toml", b"[project]\ndependencies = 3", b"project = 1", b""])
def test_a_project_that_cannot_be_read_asks_for_nothing(project: bytes) -> None:
    found = read(project=project)
    assert (found.source, found.requirements) == ("pyproject.toml", ())


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://user:secret@host/simple",
        "-i https://user:secret@host/simple",
        "--extra-index-url=https://host",
        "--find-links /tmp",
        "-f x",
        "--trusted-host host",
        "--no-binary :all:",
        "-c constraints.txt",
        "-e .",
        "--editable=./sub",
        "--config-settings x",
        "./local",
        "../x.whl",
        "/etc/x.whl",
        "x.whl",
        "C:\\x",
        "https://user:secret@host/x.whl",
        "x @ https://user:secret@host/x.whl",
        "x @ file:///etc",
        "x @ git+https://user:secret@host/x",
        "git+https://token@host/x",
        "${HOME}/x",
        "x y",
        "x; python_version >",
    ],
)
def test_options_addresses_and_paths_are_named_and_not_followed(line: str) -> None:
    found = read(requirements=f"numpy\n{line}\nscipy\n")
    assert found.requirements == ("numpy", "scipy")
    assert found.git == ()
    assert len(found.notes) == 1
    assert found.notes[0].startswith("requirements.txt ")
    assert "secret" not in found.notes[0]


@pytest.mark.parametrize("line", ["torch", "Torch==2.4.0", "torchvision>=0.1", "torchaudio ; python_version > '3'"])
def test_torch_is_the_runtimes_own(line: str) -> None:
    found = read(requirements=line)
    assert found.requirements == ()
    assert "the runtime's own torch" in found.notes[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"git+https://host/a/b.git@{COMMIT}#egg=My_Name", ("my-name", "https://host/a/b.git", COMMIT, None, None)),
        ("git+https://host/a/b", (None, "https://host/a/b", None, None, None)),
        ("-e git+https://host/a/b@v1#egg=x", ("x", "https://host/a/b", "v1", None, None)),
        ("x[y] @ git+ssh://git@host/a/b@main", ("x", "ssh://git@host/a/b", "main", None, None)),
        (
            'x @ git+https://host/b#subdirectory=c ; sys_platform == "linux"',
            ("x", "https://host/b", None, 'sys_platform == "linux"', "c"),
        ),
    ],
)
def test_repositories_are_sources_to_approve(line: str, expected: tuple[str | None, ...]) -> None:
    found = read(requirements=line)
    name, origin, ref, marker, subdirectory = expected
    assert origin is not None
    assert found.git == (GitRequirement(name, origin, ref, "pack", marker, subdirectory),)
    assert found.git[0].commit == (COMMIT if ref == COMMIT else None)
    assert (found.requirements, found.notes) == ((), ())


def test_files_of_the_pack_are_included_and_no_others() -> None:
    files = {
        "requirements.txt": b"""-r sub/more.txt
-r gone.txt
-r ../../etc/passwd
--requirement=https://host/x
-r /etc/x
""",
        "sub/more.txt": b"scipy\n-r ../requirements.txt\n-rlast.txt\n",
        "sub/last.txt": b"numpy\n",
    }
    found = requirements_of_pack("pack", files.get)
    assert found.requirements == ("scipy", "numpy")
    assert [word for word in ("gone.txt", "passwd", "https", "/etc/x") if word not in " ".join(found.notes)] == []
    assert len(found.notes) == 4


def test_other_encodings_are_read_as_pip_reads_them() -> None:
    assert read(requirements="numpy\r\nscipy".encode("utf-16")).requirements == ("numpy", "scipy")
    assert read(requirements=b"\xef\xbb\xbfnumpy\n# \xff\n").requirements == ("numpy",)


def test_requirements_have_bounds() -> None:
    too_many_files = {f"{n}.txt": f"-r {n + 1}.txt".encode() for n in range(20)} | {"requirements.txt": b"-r 0.txt"}
    refused = [
        {"requirements.txt": b"x" * (MOST_BYTES + 1)},
        {"pyproject.toml": b"#" * (MOST_BYTES + 1)},
        {"requirements.txt": b"numpy\n" * (MOST_LINES + 1)},
        {"requirements.txt": b"x" * 2000},
        too_many_files,
    ]
    for files in refused:
        with pytest.raises(RequirementsRefused, match=r"(the|The) pack pack"):
            requirements_of_pack("pack", files.get)
