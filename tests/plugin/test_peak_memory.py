"""How the plugin measures a prompt's memory, and tells of it."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from plugin import peak_memory
from plugin.peak_memory import FIELD


class Server:
    """What the plugin wraps: ComfyUI's way of telling pages what happens."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send_sync(self, event: str, data: dict[str, Any], sid: str | None = None) -> None:
        self.sent.append((event, data))


class Cuda:
    """Torch's interface to two GPUs."""

    def __init__(self, *reserved: int, used: bool = True) -> None:
        self.reserved, self.used, self.resets = reserved, used, 0

    def is_initialized(self) -> bool:
        return self.used

    def device_count(self) -> int:
        return len(self.reserved)

    def reset_peak_memory_stats(self, _device: int) -> None:
        self.resets += 1

    def max_memory_reserved(self, device: int) -> int:
        return self.reserved[device]


@pytest.fixture
def server() -> Server:
    server = Server()
    peak_memory.watch(server)
    return server


@pytest.mark.parametrize("end", ["execution_success", "execution_error", "execution_interrupted"])
def test_the_message_about_the_end_says_it_also_in_the_history(
    server: Server, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    cuda = Cuda(1000, 3000)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    data = {"prompt_id": "p"}  # ComfyUI keeps this very object for the history
    server.send_sync("execution_start", {"prompt_id": "p"}, "client")
    server.send_sync("executing", {"node": "1"}, "client")
    server.send_sync(end, data, "client")
    assert data == {"prompt_id": "p", FIELD: 3000}
    assert [(event, FIELD in sent) for event, sent in server.sent] == [
        ("execution_start", False),
        ("executing", False),
        (end, True),
    ]
    assert cuda.resets == 2


def test_what_comfyui_holds_beside_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda(1000)))
    monkeypatch.setitem(sys.modules, "comfy_aimdo.control", SimpleNamespace(get_total_vram_usage=lambda: 500))
    assert peak_memory.peak() == 1500


def test_a_gpu_that_nobody_has_used_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(1000, used=False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    peak_memory.begin()
    assert peak_memory.peak() > 1024**2, "what the process has resident"
    assert cuda.resets == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_without_a_gpu_it_is_the_peak_since_the_prompt_began() -> None:
    size = 200 * 1024**2
    earlier = bytearray(size)
    earlier[::4096] = b"x" * len(earlier[::4096])
    high = peak_memory.peak()
    del earlier
    peak_memory.begin()
    low = peak_memory.peak()
    assert high - low > size // 2
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    del held
    assert peak_memory.peak() - low > size // 2


def test_a_fault_in_measuring_does_not_keep_a_message_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise RuntimeError("no driver")

    monkeypatch.setattr(peak_memory, "peak", broken)
    server.send_sync("execution_success", {"prompt_id": "p"})
    assert server.sent == [("execution_success", {"prompt_id": "p"})]
