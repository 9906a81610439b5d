"""An installed package of judges, made on the spot."""

from pathlib import Path

_JUDGE = """
class {name}:
    name = "{name}"
    category = "taste"
    description = "A judge of the tests."
    weight = 1.0

    def judge(self, subject):
        {body}
"""


def install_plugin(folder: Path, judges: dict[str, str]) -> None:
    """Write a package into a folder of the module path: judges by name, each with the body of its `judge`."""
    module = "import os, sys, time\nfrom runflow.evaluations.judges import Issue, Verdict\n"
    (folder / "judges_of_tests.py").write_text(
        module + "".join(_JUDGE.format(name=name, body=body) for name, body in judges.items())
    )
    package = folder / "judges_of_tests-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: judges-of-tests\nVersion: 1.0\n")
    entries = "\n".join(f"{name} = judges_of_tests:{name}" for name in judges)
    (package / "entry_points.txt").write_text(f"[runflow.judges]\n{entries}\n")
