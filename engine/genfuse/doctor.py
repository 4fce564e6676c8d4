"""What stands between this machine and the GPU kernels, and what to do about each: `genfuse doctor`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from genfuse import env
from genfuse.data.atomic import check_folder
from genfuse_kernels.common import cuda_built, cuda_driver, nvrtc
from genfuse_kernels.common.cache_directory import cache_directory

PATIENCE = 20.0
"""Seconds that the driver has to answer."""

LEAST_DRIVER = {12: "525", 13: "580"}
"""NVIDIA's oldest driver for each CUDA."""


class Finding(NamedTuple):
    """One thing that was looked at; `advice` is empty where there is nothing to do."""

    what: str
    found: str
    advice: str = ""


class Driver(NamedTuple):
    """The driver's answer; `error` where it gave none, `hangs` where it is still being waited for."""

    version: tuple[int, int] | None = None
    devices: tuple[tuple[str, tuple[int, int]], ...] = ()
    error: str = ""
    is_absent: bool = False
    hangs: bool = False


def ask_driver() -> Driver:
    """Ask in a process of its own, which is given up after `PATIENCE`."""
    command = [sys.executable, "-I", cuda_driver.__file__]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        told, error = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()  # and not waited for: a process that hangs in the driver may not even die
        return Driver(error=f"no answer within {PATIENCE:.0f} s", hangs=True)
    try:
        answer = json.loads(told)
    except ValueError:
        last = (error.strip().splitlines() or ["without a word"])[-1]
        return Driver(error=f"asking it ended with status {process.returncode}: {last}")
    if "error" in answer:
        return Driver(error=answer["error"], is_absent=answer["is_absent"])
    devices = tuple((name, (major, minor)) for name, (major, minor) in answer["devices"])
    return Driver((answer["version"][0], answer["version"][1]), devices)


def gpu_findings(driver: Driver) -> Iterator[Finding]:
    """All that GPU kernels need, in the order in which one thing needs another."""
    yield _driver(driver)
    if driver.is_absent or driver.hangs:
        return
    yield _torch(driver)
    for number, (name, capability) in enumerate(driver.devices):
        yield _device(number, name, capability, driver)
    yield from _triton()
    yield from _cuda(driver)
    for folder, variable in (
        (cache_directory(), "GENFUSE_CACHE"),
        (_triton_cache(), "TRITON_CACHE_DIR"),
    ):
        yield _writable(folder, variable)
    yield from _logs()


def _driver(driver: Driver) -> Finding:
    if driver.is_absent:
        return Finding(
            "GPU driver",
            f"none ({driver.error})",
            "for an NVIDIA GPU install NVIDIA's driver, and give a container access to it; without a GPU, nothing",
        )
    if driver.hangs:
        return Finding(
            "GPU driver",
            driver.error,
            "see whether `nvidia-smi` answers, and the kernel's log (`dmesg`); restart the machine if not",
        )
    if driver.version is None:
        return Finding(
            "GPU driver",
            driver.error,
            "see what `nvidia-smi` says; after an update of the driver the machine has to be restarted",
        )
    found = f"for CUDA {_dotted(driver.version)}, {len(driver.devices)} GPUs"
    if driver.devices:
        return Finding("GPU driver", found)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Finding("GPU driver", found, f"CUDA_VISIBLE_DEVICES is {visible!r}: name a GPU there, or unset it")


def _torch(driver: Driver) -> Finding:
    built = torch.version.cuda
    if torch.version.hip is not None:
        return Finding("PyTorch", f"built for ROCm {torch.version.hip}: Triton kernels alone")
    if built is None:
        return Finding("PyTorch", "a CPU build: it sees no GPU", "install a CUDA build of PyTorch")
    major = int(built.split(".")[0])
    if driver.version is not None and driver.version[0] < major:
        return Finding(
            "PyTorch",
            f"built with CUDA {built}, too new for the driver's {_dotted(driver.version)}",
            _update(major, driver.version[0], f"install a PyTorch built with CUDA {driver.version[0]}"),
        )
    return Finding("PyTorch", f"built with CUDA {built}")


def _device(number: int, name: str, capability: tuple[int, int], driver: Driver) -> Finding:
    what, found = f"GPU {number}", f"{name}, compute capability {_dotted(capability)}"
    if capability < cuda_driver.LEAST_CAPABILITY:
        least = _dotted(cuda_driver.LEAST_CAPABILITY)
        return Finding(
            what,
            f"{found}: too low for every Triton and CUDA kernel, which need {least}",
            f"PyTorch's own kernels (aten) run there; for ours take a GPU of {least} or higher",
        )
    if nvrtc.library() is not None:
        target = nvrtc.target(capability)
        if target.startswith("compute_"):
            found += f", which NVRTC {nvrtc.version()} does not know: the driver compiles PTX of {target}"
            if driver.version is not None and driver.version < nvrtc.numbers():
                older = f"update the driver: that for CUDA {_dotted(driver.version)} cannot compile newer PTX"
                return Finding(what, found, older)
    return Finding(what, found)


def _triton() -> Iterator[Finding]:
    if importlib.util.find_spec("triton") is None:
        yield Finding("triton", "not installed", "pip install 'genfuse[triton]'")
        return
    yield Finding("triton", str(env.version("triton")))
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or shutil.which(compiler.split()[0]) is None:
        yield Finding(
            "C compiler",
            f"{compiler or 'none'}, but Triton builds its launchers with one",
            "install gcc or clang, or set CC to one",
        )
    header = Path(str(sysconfig.get_config_var("INCLUDEPY"))) / "Python.h"
    if not header.is_file():
        yield Finding(
            "Python's headers",
            f"{header} is not there, but Triton builds its launchers with it",
            f"install them: python{sysconfig.get_python_version()}-dev or python3-devel by your system's name",
        )


def _cuda(driver: Driver) -> Iterator[Finding]:
    """What compiles and launches hand-written CUDA kernels."""
    if torch.version.hip is not None:
        return
    try:
        built = cuda_built.found()
    except cuda_built.RefusedError as error:
        found, _, advice = str(error).partition("; ")
        yield Finding("CUDA kernels", found, advice)
        return
    if built is not None:
        lacking = [capability for _, capability in driver.devices if built.target(capability) is None]
        found, _, advice = built.misses(lacking[0]).partition("; ") if lacking else ("", "", "")
        yield Finding("CUDA kernels", found or f"built ahead of time, in {built.folder}", advice)
        return
    extra = env.cuda_extra(driver.version)
    yield _cupy(extra)
    install = f"pip install 'genfuse[{extra}]'"
    if nvrtc.library() is None:
        yield Finding("NVRTC", "not found", install)
        return
    major = nvrtc.numbers()[0]
    if driver.version is not None and major > driver.version[0]:
        yield Finding(
            "NVRTC",
            f"{nvrtc.version()}, too new for the driver's CUDA {_dotted(driver.version)}",
            _update(major, driver.version[0], install),
        )
        return
    yield Finding("NVRTC", nvrtc.version())


def _cupy(extra: str) -> Finding:
    install = f"pip install 'genfuse[{extra}]'"
    packages = [name for name in ("cupy", "cupy-cuda12x", "cupy-cuda13x") if env.version(name)]
    found = " and ".join(f"{name} {env.version(name)}" for name in packages)
    again = f"pip uninstall {' '.join(packages)}; {install}"
    if not packages:
        return Finding("CuPy", "not installed", install)
    if len(packages) > 1:
        return Finding("CuPy", f"{found}, which overwrite each other", again)
    if packages[0] not in ("cupy", f"cupy-{extra}x"):
        return Finding("CuPy", f"{found}, but this machine needs that of {extra}", again)
    try:
        importlib.import_module("cupy")
    except Exception as error:  # whatever its libraries raise is what the user has to know
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Finding("CuPy", f"{found}, which cannot be imported: {first}", again)
    return Finding("CuPy", found)


def _writable(folder: Path, variable: str) -> Finding:
    try:
        check_folder("cache folder", folder)
    except ValueError as error:
        return Finding("cache folder", str(error), f"make it writable, or set {variable} to another folder")
    return Finding("cache folder", str(folder))


def _triton_cache() -> Path:
    named = os.environ.get("TRITON_CACHE_DIR")
    return Path(named) if named else Path(os.environ.get("TRITON_HOME", Path.home())) / ".triton" / "cache"


def _logs() -> Iterator[Finding]:
    """Compilations that failed, whose logs are kept."""
    for log in sorted((cache_directory() / "cuda").glob("*.log")):
        yield Finding("failed compilation", str(log), "read it; remove the file once it is settled")


def _update(needed: int, has: int, otherwise: str) -> str:
    """What to do about a driver for an older CUDA, of which `otherwise` needs one that genfuse has kernels for."""
    newer = f"update the driver to {LEAST_DRIVER.get(needed, 'a newer one')} or newer"
    return f"{newer}, or {otherwise}" if has in LEAST_DRIVER else newer


def _dotted(version: tuple[int, int] | None) -> str:
    return ".".join(map(str, version or ()))
