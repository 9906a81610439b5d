"""What a run of Auto setup tells the page."""

from plugin.autosetup.commands import CommandFailed
from plugin.autosetup.job import Item, Speed
from plugin.autosetup.lines import PackLine, readable


def test_what_a_program_writes_reaches_the_page_readable() -> None:
    item = Item(PackLine("0", "Pack", ("A\u202e",)))
    item.step = "Installing packages: \x1b[2Jgone"
    assert item.describe()["step"] == "Installing packages: \\x1b[2Jgone"
    assert "\\x1b" in readable(str(CommandFailed("git clone", "failed (1)", ["remote: \x1b[2J"])), 300)


def test_speed_is_that_of_the_last_seconds() -> None:
    speed = Speed()
    assert speed.rate() is None
    for second in range(10):
        speed.add(second * 100, float(second))
    assert speed.rate() == 100
    speed.add(900, 20.0)  # a pause
    rate = speed.rate()
    assert rate is not None
    assert rate < 50
