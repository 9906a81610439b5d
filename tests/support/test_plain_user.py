"""Commands of a plain user, run by tests of root."""

import os
import subprocess
import sys

import pytest

from tests.support.plain_user import as_user, may_become, plain_uid

SAYS = "import os, runflow; print(os.getpid(), os.getuid(), os.getgid(), os.getgroups(), runflow.__version__)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_runs_this_python_in_the_same_process() -> None:
    uid = plain_uid()
    if reason := may_become(uid):
        pytest.skip(f"this machine lets nobody: {reason}")
    process = subprocess.Popen(as_user(uid, [sys.executable, "-c", SAYS]), cwd="/", stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate()
    assert said.split()[:4] == [str(process.pid), str(uid), str(uid), "[]"]
