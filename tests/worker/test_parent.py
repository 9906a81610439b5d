import os
import signal
import subprocess
import sys
import textwrap

import pytest

CHILD = textwrap.dedent(
    """
    import os, signal, sys
    from runflow.worker.parent import hear_of_parents_end

    def stop(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # both ways may be heard at once
        os.write(1, b"stopped\\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    end = hear_of_parents_end()
    print("watching", flush=True)
    if end is None:
        signal.pause()
    assert os.read(end, 1) == b""
    stop()
    """
)

PARENT = textwrap.dedent(
    """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin={stdin}, start_new_session=True)
    time.sleep(60)
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
@pytest.mark.parametrize("stdin", ["subprocess.PIPE", "subprocess.DEVNULL"])
def test_a_killed_parent_takes_the_worker_with_it(stdin: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(stdin=stdin), CHILD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "watching\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.readline() == "stopped\n"


def test_the_end_of_standard_input_is_the_parents_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        child.stdin.close()
        assert child.stdout.readline() == "stopped\n"
