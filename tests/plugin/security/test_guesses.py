"""Waits between guesses."""

from plugin.security.guesses import FREE, Guesses


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_grow_and_end() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    waits = []
    for _ in range(16):
        waits.append(guesses.wait("192.0.2.1"))
        clock.now += waits[-1]
        assert guesses.wait("192.0.2.1") == 0
        guesses.begin("192.0.2.1")
    assert waits == [0] * FREE + [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert guesses.wait("192.0.2.2") == 0
    clock.now += 3601
    guesses.begin("192.0.2.1")
    assert guesses.wait("192.0.2.1") == 0


def test_whoever_knows_the_password_starts_anew() -> None:
    guesses = Guesses(Clock())
    for _ in range(FREE):
        guesses.begin("192.0.2.1")
    assert guesses.wait("192.0.2.1") == 1
    guesses.right("192.0.2.1")
    guesses.right("never seen")
    assert guesses.wait("192.0.2.1") == 0


def test_a_network_of_ipv6_is_one_address() -> None:
    guesses = Guesses(Clock())
    for host in range(FREE):
        guesses.begin(f"2001:db8:1:2::{host:x}")
    assert guesses.wait("2001:db8:1:2:ffff::1") == 1
    assert guesses.wait("2001:db8:1:3::1") == 0
    for _ in range(FREE):
        guesses.begin("::ffff:192.0.2.1")
        guesses.begin("fe80::1%eth0")
        guesses.begin("")
    assert guesses.wait("192.0.2.1") == guesses.wait("fe80::1") == guesses.wait("") == 1


def test_memory_is_bounded() -> None:
    guesses = Guesses(Clock())
    for number in range(5000):
        guesses.begin(f"10.0.{number // 256}.{number % 256}")
    assert len(guesses._records) == 2048
