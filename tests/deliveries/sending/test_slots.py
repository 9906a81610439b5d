from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runflow.deliveries.sending.slots import Candidate, Slots
from runflow.ids import new_id

ORGS = [new_id() for _ in range(4)]
CANDIDATES = st.lists(
    st.builds(Candidate, st.builds(new_id), st.sampled_from(ORGS), st.sampled_from("abcde"), st.integers(0, 9))
)


@given(st.lists(CANDIDATES, max_size=8), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.data())
def test_no_bound_is_ever_exceeded(
    rounds: list[list[Candidate]], total: int, per_org: int, per_host: int, data: st.DataObject
) -> None:
    slots, on_their_way = Slots(total, per_org, per_host), list[Candidate]()
    for candidates in rounds:
        chosen = slots.choose(candidates)
        for candidate in chosen:
            slots.take(candidate)
        on_their_way += chosen
        assert len(on_their_way) <= total
        assert slots.free == total - len(on_their_way)
        orgs, hosts = Counter(c.org_id for c in on_their_way), Counter(c.host for c in on_their_way)
        assert max(orgs.values(), default=0) <= per_org
        assert max(hosts.values(), default=0) <= per_host
        assert set(slots.full_orgs) == {org for org, count in orgs.items() if count == per_org}
        assert set(slots.full_hosts) == {host for host, count in hosts.items() if count == per_host}
        for left in set(candidates) - set(chosen):
            assert not slots.free or orgs[left.org_id] == per_org or hosts[left.host] == per_host
        for _ in range(data.draw(st.integers(0, len(on_their_way)))):
            slots.give_back(on_their_way.pop(0))
    for candidate in on_their_way:
        slots.give_back(candidate)
    assert (slots.free, slots.full_orgs, slots.full_hosts) == (total, [], [])


@given(CANDIDATES, st.integers(1, 30), st.integers(1, 30))
def test_payloads_in_memory_are_bounded(candidates: list[Candidate], total: int, per_org: int) -> None:
    chosen = Slots(100, 100, 100, total_bytes=total, bytes_per_org=per_org).choose(candidates)
    assert chosen or not candidates
    sized = [candidate for candidate in chosen if candidate.size]
    assert sum(c.size for c in sized) <= total or len(sized) == 1
    for org in ORGS:
        of_org = [c for c in sized if c.org_id == org]
        assert sum(c.size for c in of_org) <= per_org or len(of_org) == 1


def test_first_come_first_served() -> None:
    first, second = Candidate(new_id(), ORGS[0], "a", 1), Candidate(new_id(), ORGS[0], "a", 1)
    assert Slots(10, 10, 1).choose([first, second]) == [first]


def test_choosing_takes_nothing() -> None:
    slots, candidate = Slots(1, 1, 1), Candidate(new_id(), ORGS[0], "a", 1)
    assert slots.choose([candidate]) == slots.choose([candidate]) == [candidate]
    assert slots.free == 1


def test_a_host_that_hangs_gets_few_slots_until_it_answers() -> None:
    slots = Slots(10, 10, 4)
    at_once = [Candidate(new_id(), ORGS[0], host, 1) for host in "aaaabbbb"]
    slots.note("a", hangs=True)
    assert [found.host for found in slots.choose(at_once)] == ["a", "a", "b", "b", "b", "b"]
    slots.take(at_once[0])
    slots.take(at_once[1])
    assert slots.full_hosts == ["a"]
    slots.note("a", hangs=False)
    assert slots.full_hosts == [] and len(slots.choose(at_once[2:])) == 6


def test_no_bound_is_widened_for_a_host_that_hangs() -> None:
    slots = Slots(10, 10, 1)
    slots.note("a", hangs=True)
    assert len(slots.choose([Candidate(new_id(), ORGS[0], "a", 1)] * 2)) == 1
