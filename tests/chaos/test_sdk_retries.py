"""The answer to a dispatch is lost fifty times, by cuts and by kill -9 of the server: the SDK makes fifty runs."""

import contextlib
import itertools
import selectors
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from runflow.client import Runflow
from tests.support.deployed import PROMPT
from tests.support.platform_fixtures import Platform, installation

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

CALLS = 50
KILLED = 10
"""Every so many calls the server dies; in between only the connection does."""


class Proxy:
    """Hands connections on to the server, and ruins the next one in which a run is dispatched, if it is told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ruin: tuple[bool, Callable[[], None]] | None = None
        """Whether the server's answer is there already, and what happens then."""
        self.ruined = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._hand_on, args=(caller,), daemon=True).start()

    def _hand_on(self, caller: socket.socket) -> None:
        with (
            caller,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._port)) as server,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(caller, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, caller)
            dispatches = False
            while True:
                for key, _ in ready.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(1 << 16)
                    if not data:
                        return
                    from_server = key.fileobj is server
                    dispatches = dispatches or (data.startswith(b"POST ") and b"/runs" in data.partition(b"\r")[0])
                    if from_server and dispatches and self._ruins(answered=True):
                        return
                    key.data.sendall(data)
                    if not from_server and dispatches and b"otter" in data and self._ruins(answered=False):
                        return

    def _ruins(self, *, answered: bool) -> bool:
        """Do what this moment is to be ruined by, once; the caller's connection ends then."""
        ruin = self.ruin
        if ruin is None or ruin[0] is not answered:
            return False
        self.ruin = None
        ruin[1]()
        self.ruined += 1
        return True


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with installation(None, arguments=("--no-worker",)) as started:
        yield started


def test_fifty_lost_answers_make_fifty_runs(platform: Platform) -> None:
    proxy = Proxy(platform.port)
    restarts: list[threading.Thread] = []

    def restart() -> None:
        platform.kill()
        restarts.append(threading.Thread(target=platform.start))
        restarts[-1].start()

    made: dict[str, str] = {}
    with Runflow(proxy.url, platform.key(), retry_seconds=600) as api:
        path = api.deploy("portrait", PROMPT)["path"]
        moments = itertools.cycle((True, False))  # with the answer on its way, and with the request just sent
        for number in range(CALLS):
            proxy.ruin = (next(moments), restart if number % KILLED in (0, 1) else lambda: None)
            run = api.submit(path, {"prompt": "an otter"}, client_ref=f"call-{number}")
            assert run.client_ref == f"call-{number}"
            made[run.client_ref] = run.id
            for one in restarts:
                one.join()
        assert proxy.ruined == CALLS, "each call lost its first answer"
        found = [(run.client_ref, run.id) for run in api.runs(path)]
    proxy.close()
    assert sorted(found) == sorted(made.items()), "one run for each call, the one that its answer names"
    assert len(found) == CALLS and len(restarts) == 2 * CALLS // KILLED
