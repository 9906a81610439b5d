"""The pure choice of the next lane."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from runflow.queue.choose import SECONDS_PER_PRIORITY, Lane, WorkerOffer, choose, serves

CPU = WorkerOffer("CPU", frozenset())


def lane(number: int, **fields: object) -> Lane:
    values = {
        "org_id": UUID(int=1),
        "gpu_class": "auto",
        "fingerprint": "f",
        "priority": 0,
        "waited_seconds": 0.0,
        "virtual_time": 0.0,
    }
    return Lane(id=UUID(int=number), **{**values, **fields})  # type: ignore[arg-type]


def test_the_organization_with_the_least_engine_time_comes_first() -> None:
    flood = lane(1, org_id=UUID(int=1), virtual_time=900.0, waited_seconds=3600.0, priority=50)
    single = lane(2, org_id=UUID(int=2), virtual_time=10.0)
    assert choose([flood, single], CPU) == [single.id, flood.id]


def test_within_an_organization_priority_then_age() -> None:
    old, urgent, new = lane(1, waited_seconds=30.0), lane(2, priority=5), lane(3)
    assert choose([new, old, urgent], CPU) == [urgent.id, old.id, new.id]


def test_age_outgrows_priority() -> None:
    urgent = lane(1, priority=3)
    old = lane(2, waited_seconds=4 * SECONDS_PER_PRIORITY)
    assert choose([urgent, old], CPU)[0] == old.id


def test_warm_before_cold_where_the_rest_is_equal() -> None:
    cold, warm = lane(1, fingerprint="cold"), lane(2, fingerprint="warm")
    assert choose([cold, warm], WorkerOffer("CPU", frozenset({"warm"}))) == [warm.id, cold.id]


def test_a_worker_serves_auto_lanes_and_lanes_that_name_its_gpu() -> None:
    lanes = [lane(1, gpu_class="L40S,A100"), lane(2), lane(3, gpu_class="A1")]
    assert set(choose(lanes, WorkerOffer("A100", frozenset()))) == {UUID(int=1), UUID(int=2)}


lanes = st.lists(
    st.builds(
        lane,
        st.integers(1, 10**6),
        org_id=st.integers(1, 4).map(lambda number: UUID(int=number)),
        gpu_class=st.sampled_from(["auto", "L4", "L4,A100", "CPU"]),
        fingerprint=st.sampled_from(["a", "b"]),
        priority=st.integers(-5, 5),
        waited_seconds=st.floats(0, 10**6),
        virtual_time=st.floats(0, 10**9),
    ),
    max_size=30,
    unique_by=lambda one: one.id,
)


@given(lanes, st.sampled_from(["CPU", "L4", "A100"]))
def test_every_eligible_lane_is_in_the_answer_once_and_no_other(found: list[Lane], gpu: str) -> None:
    worker = WorkerOffer(gpu, frozenset({"a"}))
    chosen = choose(found, worker)
    assert sorted(chosen) == sorted(one.id for one in found if serves(one.gpu_class, worker))


@given(lanes)
def test_the_order_of_the_snapshot_does_not_matter(found: list[Lane]) -> None:
    assert choose(found, CPU) == choose(list(reversed(found)), CPU)
