"""What a process knows of the lanes, and how it forgets it."""

from sqlalchemy import make_url

from runflow.db.notifications import Hub
from runflow.queue.backlog import Backlog


def hub() -> Hub:
    """A hub that hears others, without a database."""
    made = Hub(make_url("postgresql+psycopg://nowhere"))
    made.connected = True
    return made


def test_a_look_that_leaves_nothing_is_believed_until_the_next_hint() -> None:
    hints = hub()
    backlog = Backlog(hints)
    told = [backlog.may_wait]  # a server that has just started knows nothing
    for left in (2, 0):
        backlog.looked(backlog.hints, left)
        told.append(backlog.may_wait)
    hints.publish("lanes")
    assert [*told, backlog.may_wait] == [True, True, False, True]


def test_a_hint_that_came_during_the_look_counts() -> None:
    hints = hub()
    backlog = Backlog(hints)
    before = backlog.hints
    hints.publish("lanes")
    backlog.looked(before, 0)
    assert backlog.may_wait


def test_while_hints_do_not_arrive_anything_may_wait() -> None:
    hints = hub()
    backlog = Backlog(hints)
    backlog.looked(backlog.hints, 0)
    hints.connected = False
    assert backlog.may_wait
