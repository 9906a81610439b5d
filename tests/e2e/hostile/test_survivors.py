"""What outlives an engine: nothing, whichever way the engine or its worker ends."""

import json
import secrets
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support.hostile_installation import (
    HostileInstallation,
    attack_prompt,
    end,
    loot_of,
    nothing_got,
    survivors,
)
from tests.support.platform_fixtures import until


@pytest.fixture
def word() -> Iterator[str]:
    """The word by which an attack's processes are known; whatever has it in the end is ended."""
    made = f"runflow-left-{secrets.token_hex(6)}"
    yield made
    end(survivors(made))


def other_tenants(hostile: HostileInstallation, _word: str) -> None:
    """Let the engine end because runs of two others come: it may live beside one of theirs."""
    for other in (hostile.victim, hostile.bystander):
        other.attack("environment", hostile.given())


def worker_stop(hostile: HostileInstallation, _word: str) -> None:
    """Stop the worker as an operator does; it is started again."""
    until(hostile.platform.worker, "a worker").send_signal(signal.SIGTERM)


def worker_kill(hostile: HostileInstallation, _word: str) -> None:
    """End the worker as the kernel does when memory is short."""
    until(hostile.platform.worker, "a worker").kill()


def engine_kill(hostile: HostileInstallation, word: str) -> None:
    """End its engine alone, which is what the daemon came back to when its parent had ended."""
    (daemon,) = survivors(word)
    engine, worker = daemon.parent(), hostile.platform.worker()
    assert engine is not None and worker is not None and worker in engine.parents()
    engine.kill()
    hostile.victim.attack("environment", hostile.given())


def everything_kill(hostile: HostileInstallation, _word: str) -> None:
    """End `runflow up` itself, and start it again."""
    hostile.platform.kill()
    until(lambda: hostile.platform.worker() is None, "the worker's end")
    hostile.platform.start()


ENDINGS: tuple[Callable[[HostileInstallation, str], None], ...] = (
    other_tenants,
    engine_kill,
    worker_stop,
    worker_kill,
    everything_kill,
)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda one: one.__name__)
def test_a_daemon_does_not_outlive_its_engine(
    hostile: HostileInstallation, word: str, ending: Callable[[HostileInstallation, str], None]
) -> None:
    loot = hostile.attacker.attack("daemon", hostile.given(word=word))
    assert loot["refused"] == {"daemon": "started"}
    until(lambda: survivors(word), "the daemon")
    ending(hostile, word)
    until(lambda: not survivors(word), "the daemon's end", 60)
    nothing_got("environment", hostile.victim.attack("environment", hostile.given()))


def test_killing_everything_kills_nothing_but_its_own_engine(hostile: HostileInstallation) -> None:
    given = hostile.given()
    inputs = {"name": "kill-everything", "parameters": json.dumps(given)}
    run = hostile.attacker.run(hostile.attacker.deploy("attack", attack_prompt()), inputs)
    if run["status_code"] == "succeeded":
        nothing_got("kill-everything", loot_of(run))
    else:
        assert run["failure_code"] in ("ENGINE_CRASHED", "ENGINE_UNREACHABLE"), run["failure_message"]
    after = hostile.given()
    assert [after[name] for name in ("worker_pid", "server_pid", "decoy_pid_started")] == [
        given[name] for name in ("worker_pid", "server_pid", "decoy_pid_started")
    ]
    nothing_got("environment", hostile.victim.attack("environment", after))


def test_a_fork_bomb_is_bounded_and_leaves_worker_and_machine_alone(hostile: HostileInstallation, word: str) -> None:
    given = hostile.given(word=word)
    run = hostile.attacker.run(
        hostile.attacker.deploy("attack", attack_prompt()), {"name": "fork-bomb", "parameters": json.dumps(given)}
    )
    if run["status_code"] == "succeeded":  # else the engine did not survive what it started
        nothing_got("fork-bomb", loot_of(run))
    nothing_got("environment", hostile.victim.attack("environment", hostile.given()))
    until(lambda: not survivors(word), "the end of the bomb", 60)
    assert hostile.given()["worker_pid"] == given["worker_pid"]
