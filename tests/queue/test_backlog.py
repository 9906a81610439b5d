"""What a process knows of the lanes, and how it forgets it."""

from sqlalchemy import make_url

from runflow.db.notifications import Hub
from runflow.ids import new_id
from runflow.queue.backlog import Backlog, lane_hint


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


def test_the_one_lane_with_runs_is_told_to_the_first_who_asks() -> None:
    hints, lane = hub(), new_id()
    backlog = Backlog(hints)
    backlog.looked(backlog.hints, 0)
    hints.publish("lanes", lane_hint(lane, "L40S,A100"))
    assert [backlog.take_only(), backlog.take_only()] == [(lane, "L40S,A100"), None]


def test_where_others_may_wait_no_lane_is_the_only_one() -> None:
    """Who waits elsewhere may have a better claim to the worker: then all lanes are looked at."""
    hints = hub()
    backlog = Backlog(hints)
    hints.publish("lanes", lane_hint(new_id(), "auto"))  # of a server that has just started
    told = [backlog.take_only()]
    backlog.looked(backlog.hints, 0)
    hints.publish("lanes", lane_hint(new_id(), "auto"))
    hints.publish("lanes", lane_hint(new_id(), "auto"))
    told.append(backlog.take_only())
    backlog.looked(backlog.hints, 0)
    hints.publish("lanes")
    told.append(backlog.take_only())
    backlog.looked(backlog.hints, 0)
    hints.publish("lanes", lane_hint(new_id(), "auto"))
    hints.connected = False
    assert [*told, backlog.take_only()] == [None, None, None, None]


def test_every_hint_wakes_who_waits_whatever_it_says() -> None:
    hints = hub()
    backlog = Backlog(hints)
    with backlog.waiting() as work:
        for subject in ("", lane_hint(new_id(), "auto")):
            hints.publish("lanes", subject)
            assert work.is_set()
            work.clear()
    hints.publish("lanes")
    assert not work.is_set()
