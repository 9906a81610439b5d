"""Whose runs share an engine, and what a change from one domain to another costs."""

import asyncio
import random
from pathlib import Path

import pytest

from runflow.worker.engine.base import EngineKind
from runflow.worker.engine.execution import Execution
from runflow.worker.pool.engine_supervisor import STARTING
from runflow.worker.pool.memory import MOST_ENGINES
from runflow.worker.settings import Isolation, Limits
from tests.support.fake_server import FakeServer, image_lease
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Flight, Hold, ScriptedEngine, png, save_picture
from tests.worker.scripted_engines import BLUE, GIB, GREEN, RED, ScriptedEngines, succeed

VERSION = "0198c0de-0000-7000-8000-00000000dd01"
MOST_HELD = 3
"""Runs that a worker has beside one that ends its engine."""
OTHER_VERSION = "0198c0de-0000-7000-8000-00000000dd02"


@pytest.fixture
def plain(tmp_path: Path) -> ScriptedEngines:
    """Engines that boot for seconds, each alone."""
    return ScriptedEngines(tmp_path)


@pytest.fixture
def on_gpu(tmp_path: Path) -> ScriptedEngines:
    """Engines that start quickly, on one GPU of 48 GiB."""
    return ScriptedEngines(tmp_path, quick=True)


@pytest.fixture
def on_cpu(tmp_path: Path) -> ScriptedEngines:
    """Engines that start quickly, without a GPU, in a machine of 48 GiB."""
    return ScriptedEngines(tmp_path, quick=True, device_type="cpu")


@pytest.fixture
def quick_beats(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.lease_seconds = 1
    monkeypatch.setattr("runflow.worker.agent._FIRST_BEAT_SECONDS", 0.01)


class TestPlainBoot:
    async def test_domains_never_share_an_engine_and_the_first_gets_the_one_that_was_there(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        async with worker(find=plain):
            runs = [(domain, await succeed(server, domain)) for domain in (RED, RED, BLUE, RED)]
        engines = [plain.of(lease_id) for _, lease_id in runs]
        assert [plain.engines.index(engine) for engine in engines] == [0, 0, 1, 2]
        assert plain.started == 3
        for engine in plain.engines:
            assert engine.log[-1] == "stop"

    async def test_the_old_engine_is_gone_before_the_new_one_boots_and_the_server_hears_of_it(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        async with worker(find=plain):
            await succeed(server, RED)
            told = len(server.registrations)
            plain.attributes["hold_start"] = boots = asyncio.Event()
            waiting = server.offer(domain=BLUE)
            await server.until(lambda: plain.engines[-1].log == ["start"] and len(plain.engines) == 2)
            assert not plain.engines[0].alive
            await server.until(lambda: server.registrations[-1]["status"] == "engine_down")
            boots.set()
            assert (await server.completion(waiting))["result"] == "succeeded"
            await server.until(lambda: server.registrations[-1]["status"] == "ready")
        assert [(each["status"], each["status_detail"]) for each in server.registrations[told:]] == [
            ("engine_down", STARTING),
            ("ready", None),
        ]

    async def test_a_run_waits_for_the_boot_as_long_as_it_takes_and_its_time_limit_does_not_count_that(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines, quick_beats: None
    ) -> None:
        async with worker(find=plain, limits=Limits(engine=0.01, hold=0.01)):
            await succeed(server, RED)
            plain.attributes["hold_start"] = boots = asyncio.Event()
            waiting = server.offer(domain=BLUE, timeout_seconds=0.2)
            await server.until(lambda: len(plain.engines) == 2)
            await server.until(lambda: len(server.heartbeats[waiting]) > 2)
            boots.set()
            assert (await server.completion(waiting))["result"] == "succeeded"

    async def test_the_old_engine_stays_while_it_has_a_run_and_takes_no_further_one(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        plain.script = hold = Hold()
        async with worker(find=plain):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second, third = server.offer(domain=BLUE), server.offer(domain=RED)
            await server.until(lambda: len(server.leases) == 1)
            assert plain.engines[0].alive
            assert plain.started == 1
            for lease_id in (first, second, third):
                hold.let_go(lease_id)
                assert (await server.completion(lease_id))["result"] == "succeeded"
        assert [plain.engines.index(plain.of(each)) for each in (first, second, third)] == [0, 1, 2]

    async def test_a_run_that_waits_too_long_for_anothers_engine_is_given_back_and_no_more_are_asked_for(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        plain.script = hold = Hold()
        async with worker(find=plain, limits=Limits(hold=0.05)):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second = server.offer(domain=BLUE)
            assert (await server.completion(second))["result"] == "released"
            third = server.offer(domain=BLUE)
            await server.until(lambda: server.polls == 0)
            hold.let_go(first)
            hold.let_go(third)
            assert (await server.completion(third))["result"] == "succeeded"
        assert plain.started == 2


class TestWarmth:
    """What is told is what the next run would find: the server sends it there for that."""

    @staticmethod
    async def told(server: FakeServer, first: str, hold: Hold, fleet: ScriptedEngines) -> list[str]:
        """Which domains are told to be warm by a worker that executes RED's run and has BLUE's next."""
        await succeed(server, first, models_key="m", version_id=OTHER_VERSION)
        fleet.script = hold
        running = server.offer(domain=RED, models_key="m", version_id=VERSION)
        await hold.until_began(running)
        waiting = server.offer(domain=BLUE, models_key="m", version_id=OTHER_VERSION)
        asked = len(server.asked)
        await server.until(lambda: len(server.asked) > asked and not server.leases)
        told = [each["domain"] for each in server.asked[-1]["warm"]]
        for lease_id in (running, waiting):
            hold.let_go(lease_id)
            assert (await server.completion(lease_id))["result"] == "succeeded"
        return told

    async def test_an_engine_that_goes_with_the_next_run_is_not_told(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        async with worker(find=plain):
            assert await self.told(server, RED, Hold(), plain) == [BLUE]

    async def test_engines_that_stay_side_by_side_are_told(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        async with worker(find=on_cpu):
            assert await self.told(server, BLUE, Hold(), on_cpu) == [BLUE, RED]


class TestIsolation:
    async def test_on_a_worker_for_all_one_engine_serves_every_domain(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        async with worker(find=plain, isolation=Isolation.WORKER):
            for domain in (RED, BLUE, RED):
                await succeed(server, domain)
        assert plain.started == 1

    async def test_an_engine_that_others_started_serves_every_domain(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines
    ) -> None:
        plain.attributes |= {"isolates": False, "kind": EngineKind.ATTACHED}
        async with worker(find=plain):
            done = [await server.completion(server.offer(domain=domain)) for domain in (RED, BLUE, RED)]
        assert [one["timings"]["cold_start"] for one in done] == [False] * 3
        assert plain.started == 1

    @pytest.mark.parametrize("quick", [False, True])
    async def test_each_run_gets_an_engine_of_its_own(
        self, server: FakeServer, worker: StartWorker, plain: ScriptedEngines, quick: bool
    ) -> None:
        plain.attributes["quick"] = quick
        async with worker(find=plain, isolation=Isolation.RUN):
            runs = [await succeed(server, RED) for _ in range(4)]
        assert len({plain.of(lease_id) for lease_id in runs}) == 4
        assert plain.overlaps == 0
        assert all(server.completions[lease_id]["timings"]["cold_start"] for lease_id in runs)

    async def test_the_next_run_s_engine_is_started_ahead_where_that_is_quick(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
    ) -> None:
        on_gpu.script = hold = Hold()
        async with worker(find=on_gpu, isolation=Isolation.RUN):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            await server.until(lambda: len(on_gpu.alive) == 2)
            second, third = server.offer(domain=RED), server.offer(domain=RED)
            for lease_id in (first, second, third):
                hold.let_go(lease_id)
                assert (await server.completion(lease_id))["result"] == "succeeded"
        assert [on_gpu.engines.index(on_gpu.of(each)) for each in (first, second, third)] == [0, 1, 2]


class TestSideBySide:
    async def test_the_next_domain_s_run_is_prepared_while_the_current_one_executes(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
    ) -> None:
        on_gpu.script = hold = Hold()
        async with worker(find=on_gpu):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second = server.offer(domain=BLUE, **image_lease(server, png()))
            await server.until(lambda: len(on_gpu.engines) == 2 and on_gpu.engines[1].inputs)
            assert second not in on_gpu.engines[1].prompts
            assert len(on_gpu.alive) == 2
            hold.let_go(first)
            await hold.until_began(second)
            assert on_gpu.alive == [on_gpu.of(second)], "two domains' models never lie in one GPU"
            hold.let_go(second)
            assert (await server.completion(second))["result"] == "succeeded"
        assert on_gpu.overlaps == 0
        assert {each["status"] for each in server.registrations[1:]} <= {"ready"}, "it could always take runs"

    async def test_the_next_domain_s_turn_comes_while_outputs_are_still_stored(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
    ) -> None:
        server.hold_puts = asyncio.Event()
        async with worker(find=on_gpu):
            first, second = server.offer(domain=RED), server.offer(domain=BLUE)
            await server.until(lambda: sum(bool(engine.prompts) for engine in on_gpu.engines) == 2)
            assert not server.completions
            server.hold_puts.set()
            for lease_id in (first, second):
                assert (await server.completion(lease_id))["result"] == "succeeded"

    async def test_turns_never_overlap_and_domains_never_mix(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        domains = [RED, BLUE, BLUE, RED, GREEN, RED, GREEN, BLUE, RED, RED, BLUE, GREEN] * 3
        async with worker(find=on_cpu):
            leases = [server.offer(domain=domain) for domain in domains]
            for lease_id in leases:
                assert (await server.completion(lease_id))["result"] == "succeeded"
        assert on_cpu.overlaps == 0
        served = {(on_cpu.of(lease_id), domain) for lease_id, domain in zip(leases, domains, strict=True)}
        assert len(served) == len({engine for engine, _ in served}), "each engine served one domain"

    async def test_two_domains_that_alternate_keep_their_engines_while_memory_allows(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        async with worker(find=on_cpu):
            runs = [await succeed(server, domain) for domain in (RED, BLUE) * 3]
        assert on_cpu.started == 2
        assert [server.completions[each]["timings"]["cold_start"] for each in runs] == [True, True, *[False] * 4]

    async def test_a_third_domain_takes_the_place_of_the_one_that_was_used_least_lately(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        async with worker(find=on_cpu):
            for domain in (RED, BLUE, RED, GREEN, RED):
                await succeed(server, domain)
            assert len(on_cpu.alive) == MOST_ENGINES
        assert on_cpu.started == 3

    async def test_used_last_is_the_one_that_executed_last_not_the_one_that_was_prepared_last(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        async with worker(find=on_cpu):
            for domain in (RED, BLUE):
                await succeed(server, domain)
            red = on_cpu.engines[0]
            red.hold_place = placing = asyncio.Event()
            first = server.offer(domain=RED, **image_lease(server, png()))
            await server.until(lambda: red.placing)
            await succeed(server, BLUE)
            placing.set()
            assert (await server.completion(first))["result"] == "succeeded"
            await succeed(server, GREEN)
            assert on_cpu.alive == [red, on_cpu.engines[2]]

    async def test_engines_that_take_too_much_memory_do_not_stay(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        on_cpu.attributes["resident_bytes"] = 13 * GIB
        async with worker(find=on_cpu):
            for domain in (RED, BLUE, RED, BLUE):
                await succeed(server, domain)
        assert on_cpu.started == 4

    async def test_the_engine_before_goes_while_the_next_one_grows(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("runflow.worker.pool.engine_pool._LOOK_SECONDS", 0.01)
        async with worker(find=on_cpu):
            await succeed(server, RED)
            on_cpu.script = hold = Hold()
            second = server.offer(domain=BLUE)
            await hold.until_began(second)
            assert len(on_cpu.alive) == 2
            on_cpu.of(second).resident_bytes = 30 * GIB
            await server.until(lambda: on_cpu.alive == [on_cpu.of(second)])
            hold.let_go(second)
            assert (await server.completion(second))["result"] == "succeeded"

    async def test_of_two_runs_whose_engines_have_become_too_large_the_first_goes_on(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        async with worker(find=on_cpu):
            for domain in (RED, BLUE):
                await succeed(server, domain)
            on_cpu.script = hold = Hold()
            first, second, third = (server.offer(domain=domain) for domain in (RED, BLUE, RED))
            await hold.until_began(first)
            await server.until(lambda: sum(len(engine.begun) for engine in on_cpu.engines) == 5)
            on_cpu.of(first).resident_bytes = 30 * GIB
            for lease_id in (second, third, first):
                hold.let_go(lease_id)
            for lease_id in (first, second, third):
                assert (await server.completion(lease_id))["result"] == "succeeded"
        assert [on_cpu.engines.index(on_cpu.of(each)) for each in (first, second, third)] == [0, 1, 2]

    @pytest.mark.parametrize(("peak", "starts"), [(20 * GIB, 2), (23 * GIB, 4), (None, 4)])
    async def test_on_a_gpu_both_stay_where_what_they_need_is_known_and_fits(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines, peak: int | None, starts: int
    ) -> None:
        on_gpu.attributes["peak_bytes"] = peak
        async with worker(find=on_gpu):
            for domain, version in ((RED, VERSION), (BLUE, OTHER_VERSION)):  # what they need is not known before
                await succeed(server, domain, version_id=version)
            learned = on_gpu.started
            for domain, version in ((RED, VERSION), (BLUE, OTHER_VERSION), (RED, VERSION)):
                await succeed(server, domain, version_id=version)
            assert len(on_gpu.alive) == (2 if starts == 2 else 1)
        assert learned == 2
        assert on_gpu.started == (3 if starts == 2 else 5)

    async def test_behind_a_long_prompt_another_domain_s_run_is_given_back(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
    ) -> None:
        on_gpu.script = hold = Hold()
        async with worker(find=on_gpu, limits=Limits(hold=0.05)):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second = server.offer(domain=BLUE)
            assert (await server.completion(second))["result"] == "released"
            assert all(second not in engine.prompts for engine in on_gpu.engines)
            third = server.offer(domain=RED)
            await server.until(lambda: server.polls == 0)
            hold.let_go(first)
            await hold.until_began(third)
            hold.let_go(third)
            assert (await server.completion(third))["result"] == "succeeded"


class TestEnds:
    async def test_a_crash_leaves_the_runs_of_other_domains_alone(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines
    ) -> None:
        on_cpu.script = hold = Hold()
        async with worker(find=on_cpu):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second = server.offer(domain=BLUE, **image_lease(server, png()))
            await server.until(lambda: len(on_cpu.engines) == 2 and on_cpu.engines[1].inputs)
            on_cpu.of(first).crash()
            failed = await server.completion(first)
            assert (failed["result"], failed["error"]["code"]) == ("failed", "ENGINE_CRASHED")
            await hold.until_began(second)
            hold.let_go(second)
            assert (await server.completion(second))["result"] == "succeeded"
            on_cpu.script = save_picture
            third = await succeed(server, RED)
        assert on_cpu.engines[1].starts == 1
        assert on_cpu.of(third) is on_cpu.engines[2]

    async def test_a_node_that_does_not_stop_costs_only_its_own_engine(
        self, server: FakeServer, worker: StartWorker, on_cpu: ScriptedEngines, quick_beats: None
    ) -> None:
        on_cpu.script = hold = Hold()
        async with worker(find=on_cpu):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second = server.offer(domain=BLUE, **image_lease(server, png()))
            await server.until(lambda: len(on_cpu.engines) == 2 and on_cpu.engines[1].inputs)
            on_cpu.of(first).obeys = False
            server.cancel.add(first)
            assert (await server.completion(first))["result"] == "cancelled"
            await hold.until_began(second)
            hold.let_go(second)
            assert (await server.completion(second))["result"] == "succeeded"
        assert (on_cpu.engines[0].starts, on_cpu.engines[1].starts) == (1, 1)

    async def test_both_engines_are_stopped_with_the_worker(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
    ) -> None:
        on_gpu.script = hold = Hold()
        async with worker(find=on_gpu, grace=60.0) as agent:
            first = server.offer(domain=RED)
            await hold.until_began(first)
            second = server.offer(domain=BLUE)
            await server.until(lambda: len(on_gpu.alive) == 2)
            agent.stop()
            assert (await server.completion(second))["result"] == "released"
            hold.let_go(first)
            assert (await server.completion(first))["result"] == "succeeded"
        assert on_gpu.alive == []
        assert all(engine.log[-1] == "stop" for engine in on_gpu.engines)

    async def test_a_worker_that_stops_while_a_second_engine_starts_leaves_none_behind(
        self, server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
    ) -> None:
        on_gpu.script = hold = Hold()
        async with worker(find=on_gpu):
            first = server.offer(domain=RED)
            await hold.until_began(first)
            on_gpu.attributes["hold_start"] = asyncio.Event()
            server.offer(domain=BLUE)
            await server.until(lambda: len(on_gpu.engines) == 2)
        assert [engine.log[-1] for engine in on_gpu.engines] == ["stop", "stop"]


@pytest.mark.parametrize("isolation", [Isolation.RUN, Isolation.ORGANIZATION])
@pytest.mark.parametrize("attributes", [{}, {"quick": True}, {"quick": True, "device_type": "cpu"}], ids=str)
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_comes_every_run_ends_and_none_sees_another_domain_s_engine(
    server: FakeServer,
    worker: StartWorker,
    tmp_path: Path,
    quick_beats: None,
    attributes: dict[str, object],
    isolation: Isolation,
    seed: int,
) -> None:
    """Runs of three domains that take nothing, a while, crash their engine, hang, or are cancelled."""
    chance = random.Random(seed)
    fleet = ScriptedEngines(tmp_path, **attributes)
    kinds = dict[str, str]()

    began = set[str]()

    async def play(engine: ScriptedEngine, flight: Flight) -> Execution:
        began.add(flight.id)
        kind = kinds[flight.id]
        if kind == "crashes":
            engine.crash()
            await asyncio.Event().wait()
        if kind in ("hangs", "is cancelled"):
            engine.obeys = kind != "hangs"
            server.cancel.add(flight.id)
            await asyncio.Event().wait()
        if kind == "takes a while":
            for _ in range(50):
                await asyncio.sleep(0)
        return await save_picture(engine, flight)

    fleet.script = play
    domains = dict[str, str]()

    def offer(domain: str, kind: str) -> str:
        lease_id = server.offer(domain=domain)
        domains[lease_id], kinds[lease_id] = domain, kind
        return lease_id

    async with worker(find=fleet, isolation=isolation, limits=Limits(stop=0.01, hold=20)):
        for _ in range(40):
            kind = chance.choice(["is short"] * 12 + ["takes a while"] * 4 + ["crashes", "hangs", "is cancelled"])
            offer(chance.choice([RED, RED, BLUE, GREEN]), kind)
        waiting, given_back = list(kinds), list[str]()
        while waiting:
            lease_id = waiting.pop(0)
            kind = kinds[lease_id]
            result = (await server.completion(lease_id))["result"]
            if result == "released":  # as the server does, it is offered again
                assert lease_id not in began
                given_back.append(lease_id)
                waiting.append(offer(domains[lease_id], kind))
            else:
                ends = {"crashes": "failed", "hangs": "cancelled", "is cancelled": "cancelled"}
                assert result == ends.get(kind, "succeeded")
        assert (await server.completion(offer(GREEN, "is short")))["result"] == "succeeded"
    ended = [kind for lease_id, kind in kinds.items() if lease_id not in given_back]
    assert len(ended) == 41
    losses = sum(kind in ("crashes", "hangs") for kind in ended)
    assert len(given_back) <= MOST_HELD * losses, "only what was held when an engine went"
    assert all(count == 1 for count in server.completion_requests.values()), "each is told of once"
    assert fleet.overlaps == 0
    for engine in fleet.engines:
        assert engine.starts <= 1
        served = {lease_id if isolation is Isolation.RUN else domains.get(lease_id) for lease_id in engine.prompts}
        assert len(served) <= 1
    assert fleet.alive == []
