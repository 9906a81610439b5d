"""What is wrong: pure, from what callers, receiver, database, storage and system saw."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.chaos.callbacks import Told
from benchmarks.chaos.orders import Order
from benchmarks.chaos.records import Records, RunRecord

KINDS = {
    "lost": "a run that was accepted and did not succeed or has no bill, or was never accepted",
    "stuck": "a run, an attempt, a message or a count in a lane that never came to its end",
    "doubled": "an order with two runs, a run with two output sets, two bills or two different messages",
    "cross-wired": "a picture, a file or a message of another run",
    "untold": "a run whose callback never came",
    "orphaned": "an object that no run names after the sweep, or a process after the stop",
    "died": "a process that ended with no fault at work on it",
}
"""Each kind of wrong, and what it is."""

OUTPUTS = 1
"""How many each of the workflows has."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen. `hangs` are waits that ended in vain; `left` says what was wrong about the stop."""

    orders: Sequence[Order]
    told: Sequence[Told]
    records: Records | None
    hangs: Sequence[str] = ()
    left: Sequence[str] = ()
    deaths: Sequence[str] = ()


def judge(seen: Seen) -> list[Finding]:
    """Return everything that is wrong, in the order of `KINDS`."""
    findings = [Finding("stuck", hang) for hang in seen.hangs]
    findings += [Finding("orphaned", left) for left in seen.left]
    findings += [Finding("died", death) for death in seen.deaths]
    findings += _of_orders(seen)
    findings += _of_messages(seen)
    if seen.records is not None:
        findings += _of_records(seen.records, {order.ref: order for order in seen.orders})
    places = list(KINDS)
    return sorted(findings, key=lambda finding: places.index(finding.kind))


def _of_orders(seen: Seen) -> Iterator[Finding]:
    for order in seen.orders:
        name = f"{order.ref} (run {order.run_id})"
        for refusal in order.refusals:
            yield Finding("lost", f"{name}: {refusal}")
        if order.run is None or not order.run["is_terminal"]:
            if not order.refusals:
                yield Finding(
                    "stuck", f"{name}: " + ("not accepted" if order.run is None else order.run["status_code"])
                )
            continue
        if order.run["status_code"] != "succeeded":
            said = order.run.get("failure_message") or order.run.get("failure_code")
            yield Finding("lost", f"{name}: {order.run['status_code']}: {said}")
            continue
        if order.run["client_ref"] != order.ref or order.run["input"] != {"colour": order.colour}:
            yield Finding("cross-wired", f"{name}: the record is of {order.run['client_ref']}")
        if len(order.pictures) > OUTPUTS:
            yield Finding("doubled", f"{name}: {len(order.pictures)} outputs")
        if len(order.pictures) < OUTPUTS and not order.refusals:
            yield Finding("lost", f"{name}: succeeded without its picture")
        for picture in order.pictures:
            if picture != order.colour:
                yield Finding("cross-wired", f"{name}: ordered colour {order.colour}, got {picture}")


def _of_messages(seen: Seen) -> Iterator[Finding]:
    messages: defaultdict[str, list[Told]] = defaultdict(list)
    for told in seen.told:
        messages[told.ref].append(told)
    for order in seen.orders:
        came = messages.pop(order.ref, [])
        if order.run is not None and order.run["is_terminal"] and not came:
            yield Finding("untold", f"{order.ref} (run {order.run_id})")
        if len({told.message_id for told in came}) > 1:
            yield Finding("doubled", f"{order.ref}: {len({told.message_id for told in came})} different messages")
        for told in came:
            if order.run_id is not None and told.run_id != order.run_id:
                yield Finding("cross-wired", f"{order.ref} (run {order.run_id}): told of run {told.run_id}")
            elif order.run is not None and order.run["is_terminal"] and told.status != order.run["status_code"]:
                yield Finding("cross-wired", f"{order.ref}: told {told.status}, is {order.run['status_code']}")
    for ref, came in messages.items():
        yield Finding("cross-wired", f"{len(came)} messages for {ref}, which nobody ordered")


def _of_records(records: Records, orders: dict[str, Order]) -> Iterator[Finding]:
    for ref, count in Counter(run.ref for run in records.runs).items():
        if count > 1:
            yield Finding("doubled", f"{ref} has {count} runs")
        if ref not in orders:
            yield Finding("doubled", f"{count} runs of {ref!r}, which nobody ordered")
    known = {run.id for run in records.runs}
    for order in orders.values():
        if order.run_id is not None and order.run_id not in known:
            yield Finding("lost", f"{order.ref}: run {order.run_id} was accepted and is in no table")
    for run in records.runs:
        yield from _of_run(run)
    if records.waiting or records.running:
        yield Finding("stuck", f"lanes count {records.waiting} waiting and {records.running} running at the end")
    named = {key for run in records.runs for key in run.keys}
    stored = set(records.objects)
    for key in sorted(stored - named):
        yield Finding("orphaned", f"object {key}")
    for key in sorted(named - stored):
        yield Finding("lost", f"object {key} is named by a run and not stored")


def _of_run(run: RunRecord) -> Iterator[Finding]:
    name = f"{run.ref} (run {run.id})"
    if run.held:
        yield Finding("stuck", f"{name}: {run.status}, with {run.held} attempts that are open")
    if run.pending:
        yield Finding("stuck", f"{name}: {run.pending} messages are still to be sent")
    if run.status == "succeeded" and not (run.successes and run.bills):
        yield Finding("lost", f"{name}: succeeded, with {run.successes} attempts that did and {run.bills} bills")
    if run.successes > 1:
        yield Finding("doubled", f"{name}: {run.successes} attempts succeeded")
    if run.bills > 1:
        yield Finding("doubled", f"{name}: billed {run.bills} times")
    for key in run.keys:
        if not key.startswith(f"runs/{run.id}/"):
            yield Finding("cross-wired", f"{name}: its output lies at {key}")
