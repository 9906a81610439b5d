"""What the chaos benchmark calls wrong: each kind is found where it is, and nothing where all went well."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.chaos.callbacks import Told
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.harness import MOST_MISSES, Deck
from benchmarks.chaos.machine import Hang
from benchmarks.chaos.orders import Order
from benchmarks.chaos.records import Records, RunRecord
from benchmarks.chaos.verdict import KINDS, Seen, judge

KEY = "runs/run-1/lease/0-picture.png"


def ended(**more: Any) -> Order:
    record = {
        "is_terminal": True,
        "status_code": "succeeded",
        "client_ref": "order-1",
        "input": {"colour": 7},
        **more.pop("record", {}),
    }
    fields: dict[str, Any] = {"run_id": "run-1", "run": record, "pictures": [7], **more}
    return Order("order-1", 7, "default/quick", **fields)


ROW = RunRecord("run-1", "order-1", "succeeded", attempts=2, held=0, successes=1, bills=1, pending=0, keys=[KEY])
TOLD = Told("order-1", "run-1", "message-1", "succeeded")
RECORDS = Records([ROW], waiting=0, running=0, objects=[KEY])
WELL = Seen([ended()], [TOLD], RECORDS)


def kinds(seen: Seen) -> set[str]:
    return {finding.kind for finding in judge(seen)}


def of_run(**changes: Any) -> Seen:
    return replace(WELL, records=replace(RECORDS, runs=[replace(ROW, **changes)]))


def test_nothing_is_wrong_where_all_went_well() -> None:
    assert judge(WELL) == []


def test_a_message_that_comes_again_under_its_id_is_allowed() -> None:
    assert judge(replace(WELL, told=[TOLD, TOLD])) == []


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("lost", replace(WELL, orders=[ended(record={"status_code": "failed", "failure_message": "gone"})])),
        ("lost", replace(WELL, orders=[ended(pictures=[])])),
        ("lost", replace(WELL, orders=[ended(run=None, refusals=["404"])])),
        ("lost", replace(WELL, records=replace(RECORDS, runs=[]))),
        ("lost", replace(WELL, records=replace(RECORDS, objects=[]))),
        ("lost", of_run(bills=0)),
        ("lost", of_run(successes=0)),
        ("stuck", replace(WELL, orders=[ended(record={"is_terminal": False, "status_code": "running"})])),
        ("stuck", replace(WELL, orders=[ended(run_id=None, run=None)])),
        ("stuck", replace(WELL, records=replace(RECORDS, running=1))),
        ("stuck", replace(WELL, hangs=["waited in vain"])),
        ("stuck", of_run(held=1)),
        ("stuck", of_run(pending=1)),
        ("doubled", replace(WELL, records=replace(RECORDS, runs=[ROW, replace(ROW, id="run-2")]))),
        ("doubled", replace(WELL, told=[TOLD, replace(TOLD, message_id="message-2")])),
        ("doubled", replace(WELL, orders=[ended(pictures=[7, 7])])),
        ("doubled", of_run(successes=2)),
        ("doubled", of_run(bills=2)),
        ("doubled", of_run(ref="nobody's")),
        ("cross-wired", replace(WELL, orders=[ended(pictures=[8])])),
        ("cross-wired", replace(WELL, orders=[ended(record={"client_ref": "order-2"})])),
        ("cross-wired", replace(WELL, told=[replace(TOLD, run_id="run-2")])),
        ("cross-wired", replace(WELL, told=[replace(TOLD, status="failed")])),
        ("cross-wired", replace(WELL, told=[TOLD, replace(TOLD, ref="order-2")])),
        ("cross-wired", of_run(keys=["runs/run-2/lease/0-picture.png"])),
        ("untold", replace(WELL, told=[])),
        ("orphaned", replace(WELL, records=replace(RECORDS, objects=[KEY, "runs/run-1/other/0-picture.png"]))),
        ("orphaned", replace(WELL, left=["process left: 4711"])),
        ("died", replace(WELL, deaths=["the server ended with 1"])),
    ],
)
def test_each_wrong_is_found(kind: str, seen: Seen) -> None:
    assert kind in kinds(seen)
    assert kinds(seen) <= KINDS.keys()


def test_the_order_of_the_faults_is_that_of_the_seed_and_leaves_none_out() -> None:
    decks = [Deck(7), Deck(7), Deck(8)]
    first, again, other = ([fault.name for _ in FAULTS for fault in deck.draw()] for deck in decks)
    assert first == again != other
    assert set(first) == {fault.name for fault in FAULTS}


def test_a_fault_that_found_nothing_to_strike_comes_again() -> None:
    deck = Deck(7)
    fault = deck.draw()[0]
    deck.put_back(fault)
    drawn = [name for _ in FAULTS for name in deck.draw()]
    assert fault in drawn[: len(FAULTS)]


def test_a_round_ends_also_where_a_fault_never_finds_anything() -> None:
    deck = Deck(7, FAULTS[:1])
    for _ in range(MOST_MISSES):
        deck.put_back(FAULTS[0])
    deck.note(FAULTS[0])
    for _ in range(MOST_MISSES):
        deck.put_back(FAULTS[0])
    with pytest.raises(Hang, match=FAULTS[0].name):
        deck.put_back(FAULTS[0])


def test_no_fault_strikes_twice_at_the_same_time() -> None:
    deck = Deck(7, FAULTS[:2])
    assert all(len({fault.name for fault in drawn}) == len(drawn) for drawn in (deck.draw() for _ in range(200)))
