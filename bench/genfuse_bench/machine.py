"""What a measurement ran on: processor, caches, memory, versions, commit."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from genfuse import env
from genfuse_bench import energy

PACKAGES = ("genfuse", "torch", "diffusers", "triton", "numpy", "openvino", "onnxruntime", "ncnn", "MNN")


@dataclass(frozen=True)
class Machine:
    """The machine, the software on it, and the commit that was measured (None outside a checkout)."""

    processor: str
    cores: int
    instruction_sets: list[str]
    caches: list[str]
    memory_gib: float
    gpus: list[str]
    system: str
    versions: dict[str, str | None]
    commit: str | None
    dirty: bool | None

    @classmethod
    @functools.cache
    def here(cls) -> Machine:
        """This machine, now."""
        changes = _git("status", "--porcelain", "--untracked-files=no")
        return cls(
            processor=env.processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            instruction_sets=env.instruction_sets(),
            caches=_caches(),
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            gpus=env.gpus(),
            system=f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
            versions={"python": platform.python_version(), **{name: env.version(name) for name in PACKAGES}},
            commit=_git("rev-parse", "HEAD"),
            dirty=None if changes is None else changes != "",
        )

    def describe(self) -> dict[str, Any]:
        """What goes into a JSON line beside commit, dirty and versions."""
        fields = asdict(self)
        return {name: fields[name] for name in fields if name not in ("versions", "commit", "dirty")}

    def __str__(self) -> str:
        sets = "/".join(self.instruction_sets) or "none built"
        where = (
            f"{self.processor}, {self.cores} cores ({sets}), {' '.join(self.caches)}, {self.memory_gib} GiB"
        )
        versions = ", ".join(
            f"{name} {version or 'not installed'}" for name, version in self.versions.items()
        )
        commit = (
            f"commit {self.commit[:12]}{' with changes' if self.dirty else ''}"
            if self.commit
            else "no commit"
        )
        return "\n".join([where, *self.gpus, f"{self.system}; {versions}; {commit}"])


def _caches() -> list[str]:
    """["L1d 32K", ...] of the first core, where Linux lists them."""
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        found.append(f"L{level}{'' if kind == 'Unified' else kind[0].lower()} {size}")
    return found


def _git(*arguments: str) -> str | None:
    """git's answer about the checkout that this file lies in; None where it is installed from a wheel."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given; nothing to wait for on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock_mhz(device: torch.device) -> float | None:
    """Of the processor's cores now, as the system tells it, or of the GPU; None where nobody tells."""
    if device.type == "cuda":
        meter = energy.meter_of(device)
        return meter.clock_mhz() if isinstance(meter, energy.Nvml) else None
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return None if frequency is None or not frequency.current else float(frequency.current)
