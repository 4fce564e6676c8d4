"""What this machine has: instruction sets, GPUs, versions, and which backends are built or missing and why."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from pathlib import Path

import torch

from genfuse_kernels.common.cuda_driver import LEAST_CAPABILITY


@functools.cache
def backend_missing(name: str) -> str | None:
    """Why a compiled backend is not there on this machine; None where it is."""
    if name == "cpu":
        try:
            importlib.import_module("genfuse_kernels._cpu")
        except ImportError as error:
            return (
                f"the compiled extension genfuse_kernels._cpu cannot be imported ({error}); reinstall genfuse"
            )
        return None
    if name == "triton":
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed; pip install 'genfuse[triton]'"
        return None if triton_interpreted() else _gpu_missing()
    return _cuda_missing() if name == "cuda" else None


def _gpu_missing() -> str | None:
    """Why no GPU here runs kernels of ours."""
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        return f"PyTorch sees no GPU; {'`genfuse doctor` says why' if built else 'it is a CPU build'}"
    each = [incapable(number) for number in range(torch.cuda.device_count())]
    return each[0] if each and all(each) else None


@functools.cache
def incapable(number: int) -> str | None:
    """Why this GPU runs none of our kernels; None where it does."""
    capability = torch.cuda.get_device_capability(number)
    if capability >= LEAST_CAPABILITY:
        return None
    found, least = (".".join(map(str, numbers)) for numbers in (capability, LEAST_CAPABILITY))
    return f"the GPU has compute capability {found}, expected {least} or higher"


def cuda_extra(driver: tuple[int, int] | None = None) -> str:
    """The extra whose CuPy and NVRTC fit PyTorch's CUDA, or the driver's where that is older or PyTorch has none."""
    built = int((torch.version.cuda or "99").split(".")[0])
    return "cuda13" if min(built, driver[0] if driver else built) >= 13 else "cuda12"


def _cuda_missing() -> str | None:
    """Why CUDA kernels cannot be launched here: those built ahead of time, or where there are none, compiled."""
    from genfuse_kernels.common import cuda_built, nvrtc

    missing = _gpu_missing()
    if missing is not None:
        return missing
    if torch.version.hip is not None:
        return f"PyTorch is built for ROCm {torch.version.hip}, expected CUDA"
    try:
        built = cuda_built.found()
    except cuda_built.RefusedError as error:
        return str(error)
    if built is not None:
        devices = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
        return None if any(map(built.target, devices)) else built.misses(devices[0])
    install = f"pip install 'genfuse[{cuda_extra()}]'"
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed; {install}"
    if nvrtc.library() is None:
        return f"NVRTC, which compiles the kernels, is not found; {install}"
    return None


def triton_interpreted() -> bool:
    """Whether Triton kernels run under its interpreter, on the CPU (TRITON_INTERPRET=1 before import)."""
    return os.environ.get("TRITON_INTERPRET", "") not in ("", "0")


def require_backends() -> None:
    """RuntimeError unless every backend that GENFUSE_REQUIRE_BACKENDS names (comma-separated) is here."""
    for name in filter(None, os.environ.get("GENFUSE_REQUIRE_BACKENDS", "").split(",")):
        missing = backend_missing(name.strip())
        if missing is not None:
            raise RuntimeError(f"GENFUSE_REQUIRE_BACKENDS asks for {name.strip()!r}: {missing}")


def version(package: str) -> str | None:
    """The installed version of a distribution, None where it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name as the kernel gives it."""
    return _told("model name") or platform.processor() or platform.machine()


def _told(field: str) -> str:
    """What Linux tells of the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def gpus() -> list[str]:
    """The name of each GPU that PyTorch sees."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def gpu_driver() -> str:
    """The version of NVIDIA's driver, as Linux tells it, else the CUDA version that it is for."""
    try:
        told = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        told = ""
    named = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", told)
    if named is not None:
        return named[1]
    number = int(torch._C._cuda_getDriverVersion()) if hasattr(torch._C, "_cuda_getDriverVersion") else 0
    return f"cuda {number // 1000}.{number % 1000 // 10}"


def instruction_sets() -> list[str]:
    """What the CPU kernels can use here, best last; empty where they are not built."""
    if backend_missing("cpu") is not None:
        return []
    cpu = importlib.import_module("genfuse_kernels._cpu")
    return list(cpu.available_isas())


def refused_matrix_unit() -> str | None:
    """Why bfloat16 does not run on a matrix unit that this processor has; None where it does, or has none."""
    sets = instruction_sets()
    if not sets or "amx_bf16" in sets or "amx_bf16" not in _told("flags").split():
        return None
    return (
        "there, but Linux did not let this process use it when genfuse was imported: a thread had a signal stack "
        "too small for its registers; import genfuse before what starts threads, or use Linux 5.16 or newer"
    )


def workers() -> str:
    """The threads that the CPU kernels run on, beside the calling one."""
    if backend_missing("cpu") is not None:
        return "none"
    shared = importlib.import_module("genfuse_kernels._cpu").shares_torch_threads()
    return "PyTorch's OpenMP threads" if shared else "a pool of our own"


def build() -> dict[str, str]:
    """What this genfuse was built from and with, and the PyTorch that it runs on, by name: for a bug report."""
    facts = {"torch": torch.__version__, "python": platform.python_version()}
    missing = backend_missing("cpu")
    if missing is not None:
        return {"CPU kernels": missing, **facts}
    cpu = importlib.import_module("genfuse_kernels._cpu")
    return {
        "commit": cpu.COMMIT or "not known",
        "compiler": cpu.COMPILER,
        "instruction sets": ", ".join(cpu.available_isas()),
        **facts,
    }


def scratch_peak_bytes() -> int:
    """The most scratch memory that the CPU kernels have held so far, on all threads of this process together."""
    if backend_missing("cpu") is not None:
        return 0
    return int(importlib.import_module("genfuse_kernels._cpu").arena_peak_bytes())
