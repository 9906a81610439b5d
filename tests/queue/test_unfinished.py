"""What a process knows of the runs that it queued itself."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from runflow.db.notifications import Hub
from runflow.ids import new_id
from runflow.queue import unfinished
from runflow.queue.unfinished import Unfinished

ORG, OTHER = new_id(), new_id()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that hears others, without a database."""
    made = Hub(make_url("postgresql+psycopg://nowhere"))
    made.connected = True
    yield made


def test_a_queued_run_is_unfinished_until_its_end_is_heard(hub: Hub) -> None:
    known, run = Unfinished(hub), new_id()
    assert not known.holds(ORG, run)
    known.queued(ORG, run)
    assert known.holds(ORG, run)
    assert not known.holds(OTHER, run)
    hub.publish("run", str(new_id()))
    assert known.holds(ORG, run)
    hub.publish("run", str(run))
    assert not known.holds(ORG, run)


def test_while_hints_cannot_arrive_nothing_is_known_and_after_a_gap_nothing_remembered(hub: Hub) -> None:
    known, run = Unfinished(hub), new_id()
    known.queued(ORG, run)
    hub.connected = False
    assert not known.holds(ORG, run)
    hub.connected = True
    hub.wake_all()
    assert not known.holds(ORG, run)


def test_the_oldest_are_forgotten_first(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "MAX_RUNS", 2)
    known, runs = Unfinished(hub), [new_id() for _ in range(3)]
    for run in runs:
        known.queued(ORG, run)
    assert [known.holds(ORG, run) for run in runs] == [False, True, True]
