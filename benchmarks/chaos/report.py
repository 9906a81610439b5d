"""What a round of chaos prints: how often what struck, how long recovery took, and what was wrong."""

import statistics
from collections import defaultdict
from typing import Any

from benchmarks.chaos.harness import Outcome, Plan
from benchmarks.chaos.verdict import KINDS, Finding, Seen

SHOWN = 30
"""Findings that are printed one by one."""


def summary(plan: Plan, outcome: Outcome, findings: list[Finding]) -> dict[str, Any]:
    """Return all of it as JSON takes it. Times in seconds."""
    assert outcome.seen is not None
    recoveries: defaultdict[str, list[float]] = defaultdict(list)
    for strike in outcome.strikes:
        for name in strike.faults:
            recoveries[name].append(strike.recovered)
    return {
        "plan": {"runs": plan.runs, "seconds": plan.seconds, "seed": plan.seed},
        "faults": {
            name: {"struck": len(times), "recovery_median": statistics.median(times), "recovery_most": max(times)}
            for name, times in sorted(recoveries.items())
        },
        "strikes": [
            {"faults": list(strike.faults), "lasted": strike.lasted, "recovered": strike.recovered}
            for strike in outcome.strikes
        ],
        "counts": _counts(outcome.seen),
        "wrong": {kind: sum(finding.kind == kind for finding in findings) for kind in KINDS},
        "findings": [{"kind": finding.kind, "what": finding.what} for finding in findings],
    }


def _counts(seen: Seen) -> dict[str, int]:
    runs = seen.records.runs if seen.records is not None else []
    messages = {told.message_id for told in seen.told}
    return {
        "runs": len(seen.orders),
        "succeeded": sum(order.run is not None and order.run["status_code"] == "succeeded" for order in seen.orders),
        "pictures right": sum(order.pictures == [order.colour] for order in seen.orders),
        "requests": sum(order.tries for order in seen.orders),
        "attempts": sum(run.attempts for run in runs),
        "runs tried more than once": sum(run.attempts > 1 for run in runs),
        "messages": len(messages),
        "messages that came again": len(seen.told) - len(messages),
    }


def show(told: dict[str, Any]) -> str:
    """Return the table for people."""
    lines = [f"{'fault':32}  struck  recovery, median and most"]
    for name, fault in told["faults"].items():
        lines.append(
            f"{name:32}  {fault['struck']:6}  {fault['recovery_median']:6.1f} s  {fault['recovery_most']:6.1f} s"
        )
    lines += ["", *(f"{name:32}  {count:6}" for name, count in told["counts"].items()), ""]
    lines += [f"{kind:32}  {count:6}  {KINDS[kind]}" for kind, count in told["wrong"].items()]
    findings = told["findings"]
    lines += ["", *(f"{finding['kind']}: {finding['what']}" for finding in findings[:SHOWN])]
    if len(findings) > SHOWN:
        lines.append(f"and {len(findings) - SHOWN} more (--json has all)")
    return "\n".join(lines).rstrip()
