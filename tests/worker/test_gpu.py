import pytest

from runflow.worker.gpu import NO_GPU, gpu_code, gpu_from


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
