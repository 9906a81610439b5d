"""What is kept in memory, and what leaves it."""

from runflow.db.sized_memory import SizedMemory


def test_the_least_recently_used_leave_as_soon_as_the_bytes_are_too_many() -> None:
    memory: SizedMemory[str, str] = SizedMemory(10)
    for key in "abc":
        memory.put(key, key.upper(), 3)
    assert memory.get("a") == "A"
    memory.put("d", "D", 4)
    assert ["a" in memory, "b" in memory, "c" in memory, "d" in memory] == [True, False, True, True]
    assert (memory.size_bytes, len(memory)) == (10, 3)
    memory.put("e", "E", 9)
    assert (memory.size_bytes, len(memory), memory.get("e")) == (9, 1, "E")


def test_one_that_is_larger_than_all_may_be_is_not_kept_and_drives_nobody_out() -> None:
    memory: SizedMemory[str, str] = SizedMemory(10)
    memory.put("a", "A", 3)
    memory.put("b", "B", 11)
    assert (memory.get("a"), memory.get("b"), memory.size_bytes) == ("A", None, 3)


def test_what_is_put_again_counts_once() -> None:
    memory: SizedMemory[str, str] = SizedMemory(10)
    for size in (3, 5, 4):
        memory.put("a", "A", size)
    assert (memory.size_bytes, len(memory)) == (4, 1)
    memory.drop("a")
    memory.drop("a")
    assert (memory.size_bytes, memory.get("a")) == (0, None)
