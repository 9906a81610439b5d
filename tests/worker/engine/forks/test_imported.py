"""What a booted engine says that it has imported, and what becomes of lies."""

import os
import sys

import orjson
import pytest

from runflow.worker.engine.forks.imported import Imported, ImportRecord
from runflow.worker.engine.forks.serving import tell_imports


def test_modules_out_of_site_packages_and_settings_for_torch_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
    monkeypatch.setenv("PYTORCH_OWN", "not for everybody")
    with ImportRecord() as record:
        assert record.read() == Imported()
        tell_imports(os.dup(record.descriptor), before)
        told = record.read()
    assert {"orjson", "pytest"} <= set(told.modules)
    assert not {"os", "json", __name__, "runflow"} & set(told.modules)
    assert [name for name in sys.modules if name in told.modules] == list(told.modules)
    assert told.settings == {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}


@pytest.mark.parametrize(
    "lie", [b"x", b"[]", b"{}", b'{"modules": 1, "settings": {}}', b'{"modules": [], "settings": []}']
)
def test_what_is_no_record_is_nothing(lie: bytes) -> None:
    with ImportRecord() as record:
        os.pwrite(record.descriptor, lie, 0)
        assert record.read() == Imported()


def test_only_names_and_known_settings_are_taken_and_no_more_than_fits() -> None:
    with ImportRecord() as record:
        told = {"modules": ["a.b", "a b", "../x", 1, ""], "settings": {"LD_PRELOAD": "x", "CUDA_VISIBLE_DEVICES": 3}}
        os.pwrite(record.descriptor, orjson.dumps(told), 0)
        assert record.read() == Imported(("a.b",), {})
        told["settings"] = {"CUDA_VISIBLE_DEVICES": "0\0", "PYTORCH_ALLOC_CONF": "x" * 300_000}
        os.pwrite(record.descriptor, orjson.dumps(told), 0)
        assert record.read() == Imported(("a.b",), {})
        with pytest.raises(PermissionError):
            os.pwrite(record.descriptor, bytes(10), 2 * 1024 * 1024)
        with pytest.raises(PermissionError):
            os.truncate(record.descriptor, 1)
