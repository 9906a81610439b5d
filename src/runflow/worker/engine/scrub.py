"""The environment of an owned engine: an allow-list, because custom nodes are other people's code.

Never passed on: anything named RUNFLOW_*, database or cloud settings, tokens. HOME and the temporary folder are the
engine's own, below its base folder. `boot` adds the one secret by which the engine's plugin knows its worker.
"""

from collections.abc import Mapping
from pathlib import Path

_NAMES = frozenset(
    {
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NO_PROXY",
        "no_proxy",
    }
)
_PREFIXES = (
    "LC_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "HIP_",
    "ROCR_",
    "HSA_",
    "PYTORCH_",
    "TORCH_",
    "TORCHINDUCTOR_",
    "TRITON_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "KMP_",
    "SYCL_",
    "ZE_",
    "ONEAPI_",
)
_DEFAULTS = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
"""Unless the operator says otherwise, the engine's idle threads sleep instead of spinning: they share the cores with
the worker, and a spinning engine takes their time without being faster (docs/performance.md)."""
_FOLDERS_OF_LIBRARIES = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "MPLCONFIGDIR": ".config/matplotlib",
    "YOLO_CONFIG_DIR": ".config/ultralytics",
    "TORCH_HOME": ".cache/torch",
}
_QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "WAS_BLOCK_AUTO_INSTALL": "true",
    # Asked through NVML, whether there is a GPU does not keep a process from being forked.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
_OFFLINE = {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "YOLO_OFFLINE": "true"}
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"})
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL")


def scrubbed_environment(
    environ: Mapping[str, str], base: Path, extra: Mapping[str, str] | None = None, network: bool = True
) -> dict[str, str]:
    """Return what an engine with this base folder gets to see. `extra`, the operator's own choice, goes over it.

    Without a `network` it is told so, for installers and libraries would wait for one.
    """
    kept = {name: value for name, value in environ.items() if _is_allowed(name, value)}
    home, temporary = str(base / "home"), str(base / "tmp")
    return {
        **_DEFAULTS,
        **kept,
        "HOME": home,
        "XDG_CACHE_HOME": f"{home}/.cache",
        "TMPDIR": temporary,
        "USER": "runflow-engine",
        "LOGNAME": "runflow-engine",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **{name: f"{home}/{folder}" for name, folder in _FOLDERS_OF_LIBRARIES.items()},
        **_QUIET,
        **({} if network else _OFFLINE),
        **(extra or {}),
    }


def _is_allowed(name: str, value: str) -> bool:
    if name in _NAMES:
        return True
    if name in _PROXIES:
        return "@" not in value  # one with credentials stays here
    return name.startswith(_PREFIXES) and not any(word in name for word in _SECRET_WORDS)
