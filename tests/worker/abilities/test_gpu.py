import pytest

from runflow.protocol.workers import Gpu
from runflow.worker.abilities.gpu import NO_GPU, NoGpuClass, as_declared, declared_gpu, gpu_code, gpu_from


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000ADA"),
        ("Tesla T4", "T4"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_a_devices_name_gives_its_class(name: str, code: str) -> None:
    assert gpu_code(name) == code


def test_a_machine_without_a_gpu_is_of_class_cpu() -> None:
    assert gpu_from("cpu", "cpu", 24 * 1024**3) == NO_GPU
    assert (NO_GPU.code, NO_GPU.name, NO_GPU.memory_gb) == ("CPU", None, 0)


def test_a_device_without_a_telling_name_is_of_its_types_class() -> None:
    assert gpu_from("mps", "", 16 * 1024**3).code == "MPS"


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("L40S", Gpu(code="L40S")),
        ("L40S:48", Gpu(code="L40S", memory_gb=48)),
        (" A100-MIG-1G.10GB:9.75 ", Gpu(code="A100-MIG-1G.10GB", memory_gb=9)),
        ("rtx_4090:24", Gpu(code="rtx_4090", memory_gb=24)),
        ("cpu", NO_GPU),
    ],
)
def test_an_operator_declares_a_class(text: str, gpu: Gpu) -> None:
    assert declared_gpu(text) == gpu


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":24",
        "L40S:",
        "L40S:x",
        "L40S:0",
        "L40S:-1",
        "L40S:nan",
        "L40S:inf",
        "L4,A100",
        "auto class",
        "a" * 65,
        "CPU:8",
        "L40S:1e9",
        "-x:1",
    ],
)
def test_a_class_that_cannot_be_read_says_how_it_looks(text: str) -> None:
    with pytest.raises(NoGpuClass, match=r"such as|CPU alone"):
        declared_gpu(text)


def test_what_is_declared_goes_before_what_was_detected() -> None:
    detected = Gpu(code="A100", name="NVIDIA A100", memory_gb=80)
    assert as_declared(None, detected) == detected
    assert as_declared(Gpu(code="SLICE"), detected) == Gpu(code="SLICE", name="NVIDIA A100", memory_gb=80)
    assert as_declared(Gpu(code="SLICE", memory_gb=10), detected).memory_gb == 10
    assert as_declared(NO_GPU, detected) == NO_GPU
    assert as_declared(Gpu(code="FAKE"), NO_GPU) == Gpu(code="FAKE")
