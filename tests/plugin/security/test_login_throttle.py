"""Waits between guesses."""

from plugin.security.login_throttle import FREE, LoginThrottle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_grow_and_end() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    waits = []
    for _ in range(16):
        waits.append(throttle.wait("192.0.2.1"))
        clock.now += waits[-1]
        assert throttle.wait("192.0.2.1") == 0
        throttle.begin("192.0.2.1")
    assert waits == [0] * FREE + [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert throttle.wait("192.0.2.2") == 0
    clock.now += 3601
    throttle.begin("192.0.2.1")
    assert throttle.wait("192.0.2.1") == 0


def test_whoever_knows_the_password_starts_anew() -> None:
    throttle = LoginThrottle(Clock())
    for _ in range(FREE):
        throttle.begin("192.0.2.1")
    assert throttle.wait("192.0.2.1") == 1
    throttle.right("192.0.2.1")
    throttle.right("never seen")
    assert throttle.wait("192.0.2.1") == 0


def test_a_network_of_ipv6_is_one_address() -> None:
    throttle = LoginThrottle(Clock())
    for host in range(FREE):
        throttle.begin(f"2001:db8:1:2::{host:x}")
    assert throttle.wait("2001:db8:1:2:ffff::1") == 1
    assert throttle.wait("2001:db8:1:3::1") == 0
    for _ in range(FREE):
        throttle.begin("::ffff:192.0.2.1")
        throttle.begin("fe80::1%eth0")
        throttle.begin("")
    assert throttle.wait("192.0.2.1") == throttle.wait("fe80::1") == throttle.wait("") == 1


def test_memory_is_bounded() -> None:
    throttle = LoginThrottle(Clock())
    for number in range(5000):
        throttle.begin(f"10.0.{number // 256}.{number % 256}")
    assert len(throttle._records) == 2048
