"""What is copied from a table is whole, and nobody's name does anything to a terminal."""

import pytest

from runflow.cli import tables

ID = "0197f3a0-0000-7000-8000-000000000000"
SCOPES = ", ".join(["comfyui-workflows:create"] * 40)
MARK = "\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def _window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Rich believe that stdout is a window of 80 columns."""
    for name, value in (("TERM", "xterm"), ("FORCE_COLOR", "1"), ("COLUMNS", "80"), ("LINES", "25"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)


def printed(capsys: pytest.CaptureFixture[str], *arguments: object, **more: object) -> list[str]:
    tables.print_table(*arguments, **more)  # type: ignore[arg-type]
    return [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in capsys.readouterr().out.splitlines()]


ROW = ("rf_live_abcd", "login of somebody on some machine", "2026-11-29 19:42", SCOPES, ID)
HEADERS = ("begins with", "name", "last used", "may", "id")


def test_a_pipe_gets_all_of_a_row_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    head, row = printed(capsys, HEADERS, [ROW])
    assert row == "  ".join(ROW) and head.split("  ")[0] == "begins with"


@pytest.mark.usefixtures("_window")
def test_a_narrow_window_cuts_what_nobody_copies(capsys: pytest.CaptureFixture[str]) -> None:
    head, row = printed(capsys, HEADERS, [ROW], whole=("begins with", "id"))
    assert row.startswith("rf_live_abcd  ") and row.endswith(f"  {ID}") and "…" in row
    assert len(row) == 80 and all(name[:4] in head for name in HEADERS), "no column is dropped"
    wide = printed(capsys, ("id", "other"), [(ID, ID + ID)], whole=("id", "other"))
    assert wide[1] == f"{ID}  {ID}{ID}"


def test_a_name_is_text_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("[/]", "1"), ("[red]x :smile:", "10"), ("a\x1b]0;owned\x07\nb", "2")]
    assert printed(capsys, ("name", "runs"), rows, right=("runs",))[1:] == [
        "[/]                1",
        "[red]x :smile:    10",
        f"a{MARK}]0;owned{MARK}{MARK}b      2",
    ]


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, ("id", "name"), []) == ["id  name"]


def test_sizes_are_written_as_people_read_them() -> None:
    sizes = (0, 999_999, 10**6, 2_132_626_066, 4 * 10**12)
    assert [tables.size(count) for count in sizes] == ["0 kB", "999 kB", "1.0 MB", "2.1 GB", "4.0 TB"]
