"""Tables on stdout: for people on a terminal, and a whole line for each row in a pipe."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

GAP = "  "
NARROWEST = 4
"""What a column that may be cut keeps, if it has so much."""


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str] = ("id",), right: Sequence[str] = ()
) -> None:
    """Print texts as they are, without any meaning for the terminal.

    In a window that is too narrow the widest columns are cut, but never those that people copy, `whole`: Rich's own
    tables break or drop them. `right` are aligned to the right.
    """
    out = Console(highlight=False, soft_wrap=True)
    texts = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(cell_len(line[index]) for line in (headers, *texts)) for index in range(len(headers))]
    if out.is_terminal:
        _fit(widths, [name not in whole for name in headers], out.width)
    for line in (headers, *texts):
        cells = [
            _cell(text, width, to_the_right=name in right)
            for text, width, name in zip(line, widths, headers, strict=True)
        ]
        out.print(Text(GAP.join(cells).rstrip(), style="bold" if line is headers else ""))


def size(count: int) -> str:
    """Write a number of bytes as people read it, e.g. `1.4 GB`."""
    for factor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count // 1000} kB"


def _fit(widths: list[int], may_be_cut: Sequence[bool], window: int) -> None:
    """Take from the widest columns that may be cut until all fit into the window, or no more can be taken."""
    over = sum(widths) + len(GAP) * (len(widths) - 1) - window
    while over > 0:
        widest = max(
            (index for index, may in enumerate(may_be_cut) if may), key=lambda index: widths[index], default=None
        )
        if widest is None or widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1
        over -= 1


def _cell(text: str, width: int, *, to_the_right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    spaces = " " * (width - cell_len(text))
    return spaces + text if to_the_right else text + spaces


def _plain(text: str) -> str:
    """Return a text of somebody else's for one line of a terminal: what is no character there is shown as a mark."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
