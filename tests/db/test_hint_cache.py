"""What is remembered of the database, and what makes it forgotten."""

from types import SimpleNamespace

import pytest
from sqlalchemy import make_url

from runflow.db.hint_cache import HintCache
from runflow.db.notifications import Hub


class Source:
    """What stands in the database, and how often it was asked for."""

    def __init__(self) -> None:
        self.values = {"a": "1", "b": "2", "c": "3"}
        self.looks = 0

    async def read(self, key: str) -> str:
        self.looks += 1
        return self.values[key]


@pytest.fixture
def hub() -> Hub:
    """A hub that is told that it can hear others."""
    made = Hub(make_url("postgresql://nobody@nowhere/nothing"))
    made.connected = True
    return made


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(hub: Hub) -> HintCache[str, str]:
    return HintCache(hub, "thing", lives=lambda value: 5.0 if value else 0, most=2, subject_of=lambda key, _: key)


async def look(cache: HintCache[str, str], source: Source, key: str) -> str:
    return await cache.get(key, lambda: source.read(key))


async def test_a_value_is_read_once(cache: HintCache[str, str], source: Source) -> None:
    assert cache.held("a") is None
    assert [await look(cache, source, "a") for _ in range(3)] == ["1", "1", "1"]
    assert (cache.held("a"), source.looks) == ("1", 1)


async def test_a_hint_drops_what_it_is_about(cache: HintCache[str, str], source: Source, hub: Hub) -> None:
    for key in ("a", "b"):
        await look(cache, source, key)
    hub.publish("other", "a")
    assert (cache.held("a"), cache.held("b")) == ("1", "2")
    hub.publish("thing", "a")
    assert (cache.held("a"), cache.held("b")) == (None, "2")
    hub.publish("thing")
    assert cache.held("b") is None


async def test_without_subjects_any_hint_drops_everything(source: Source, hub: Hub) -> None:
    cache: HintCache[str, str] = HintCache(hub, "thing", lives=lambda _: 5.0, most=2)
    await look(cache, source, "a")
    hub.publish("thing", "b")
    assert cache.held("a") is None


async def test_what_was_read_before_a_hint_is_not_kept(cache: HintCache[str, str], source: Source, hub: Hub) -> None:
    async def overtaken() -> str:
        found = await source.read("a")
        source.values["a"] = "new"
        hub.publish("thing", "a")
        return found

    assert await cache.get("a", overtaken) == "1"
    assert await look(cache, source, "a") == "new"


async def test_while_hints_cannot_arrive_nothing_is_remembered(
    cache: HintCache[str, str], source: Source, hub: Hub
) -> None:
    await look(cache, source, "a")
    hub.connected = False
    for key in ("a", "b"):
        await look(cache, source, key)
    assert source.looks == 3
    hub.connected = True
    assert cache.held("b") is None


async def test_a_value_lives_as_long_as_it_may(
    cache: HintCache[str, str], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("runflow.db.hint_cache.time", SimpleNamespace(monotonic=lambda: clock.now))
    source.values["b"] = ""
    for key in ("a", "b"):
        await look(cache, source, key)
    clock.now += 4.9
    assert (cache.held("a"), cache.held("b")) == ("1", None)
    clock.now += 0.1
    assert cache.held("a") is None


async def test_the_least_recently_used_value_leaves(cache: HintCache[str, str], source: Source) -> None:
    for key in ("a", "b"):
        await look(cache, source, key)
    assert cache.held("a") == "1"
    await look(cache, source, "c")
    assert [cache.held(key) for key in ("a", "b", "c")] == ["1", None, "3"]


async def test_an_empty_value_may_be_held(source: Source, hub: Hub) -> None:
    cache: HintCache[str, str] = HintCache(hub, "thing", lives=lambda _: 5.0, most=2)
    source.values["a"] = ""
    assert [await look(cache, source, "a") for _ in range(2)] == ["", ""]
    assert source.looks == 1
