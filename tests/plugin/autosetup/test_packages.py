import pytest

from plugin.autosetup.packages import is_plain, read_requirements

PLAIN = ["numpy", "numpy>=1.2,<3", "opencv-python-headless", "foo[bar,baz]==1.0", "a~=1.0 ; python_version < '3.12'",
         "b (>=1.0)", "c===1.0+cpu", "d >= 2.*", "e!=1"]  # fmt: skip
NOT_PLAIN = ["-r other.txt", "--index-url https://evil.example", "-e .", "git+https://github.com/a/b", "./local",
             "foo @ https://evil.example/foo.whl", "https://evil.example/foo.whl", "foo==${SECRET}",
             "foo --hash=sha256:x",
             "foo; import os", "$(touch x)", "foo==1 --global-option=x", "../up", "C:\\x.whl",
             "-c constraints.txt", "foo.whl/", "foo.whl", "Evil-1.0.tar.gz", "foo.zip==1"]  # fmt: skip


@pytest.mark.parametrize("line", PLAIN)
def test_names_and_versions_are_plain(line: str) -> None:
    assert is_plain(line)


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_everything_else_is_left_out(line: str) -> None:
    found = read_requirements(f"numpy\n{line}\n")
    assert found.plain == ("numpy",)
    assert found.left_out == (line,)


def test_comments_continuations_and_repetitions() -> None:
    text = "\ufeff# a comment\r\nnumpy  # why\n\nnumpy\nfoo \\\n --hash=sha256:x\nbar\\\n>=1\n"
    found = read_requirements(text)
    assert found.plain == ("numpy", "bar >=1")
    assert found.left_out == ("foo   --hash=sha256:x",)


def test_a_long_file_ends_somewhere() -> None:
    found = read_requirements("\n".join(f"p{number}" for number in range(5000)))
    assert len(found.plain) == len(found.left_out) == 300
