"""Energy counters of the machine: RAPL's of the processor's packages, NVML's of an NVIDIA GPU; where they can be read.

RAPL  Linux, Documentation/power/powercap/powercap.rst: energy_uj counts up to max_energy_range_uj
NVML  nvmlDeviceGetTotalEnergyConsumption, mJ since the driver was loaded; moves every 20 to 100 ms
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any, Protocol

import torch

from genfuse import env

POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """A counter."""

    name: str

    def joules(self) -> float:
        """So far, from any start."""


class Rapl:
    """The processor's packages together. OSError where the counters cannot be read."""

    name = "RAPL"

    def __init__(self, folder: Path) -> None:
        zones = sorted(folder.glob("intel-rapl:*"))
        packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
        if not packages:
            raise OSError(f"no package under {folder}")
        self._counters = [zone / "energy_uj" for zone in packages]
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in packages]
        self._last = [int(counter.read_text()) for counter in self._counters]
        self._total = 0

    def joules(self) -> float:
        """Since it was made; a counter that began again is taken to have done so once."""
        now = [int(counter.read_text()) for counter in self._counters]
        for last, new, most in zip(self._last, now, self._ranges, strict=True):
            self._total += new - last if new >= last else new - last + most
        self._last = now
        return self._total / 1e6


class Nvml:
    """A GPU. ImportError without nvidia-ml-py; the library's own error where the GPU has no counter."""

    name = "NVML"

    def __init__(self, device: torch.device) -> None:
        self._library: Any = importlib.import_module("pynvml")
        self._library.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        self._handle = self._library.nvmlDeviceGetHandleByUUID(uuid)
        self.joules()

    def joules(self) -> float:
        """Since the driver was loaded."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def clock_mhz(self) -> float:
        """Of the multiprocessors, now."""
        return float(self._library.nvmlDeviceGetClockInfo(self._handle, self._library.NVML_CLOCK_SM))


@functools.cache
def meter_of(device: torch.device) -> Meter | None:
    """The device's counter; None where `absence` says why."""
    return _found(device)[0]


def absence(device: torch.device) -> str | None:
    """Why there is no counter; None where there is one."""
    return _found(device)[1]


@functools.cache
def _found(device: torch.device) -> tuple[Meter | None, str | None]:
    if device.type == "cuda":
        if not env.version("nvidia-ml-py"):
            return None, "nvidia-ml-py is not installed; pip install 'genfuse[bench-energy]'"
        try:
            return Nvml(device), None
        except Exception as error:  # NVML's own errors, one class each
            return None, f"NVML: {error}"
    try:
        return Rapl(POWERCAP), None
    except PermissionError:
        return None, f"{POWERCAP}/intel-rapl:*/energy_uj is root's alone to read"
    except (OSError, ValueError) as error:
        return None, f"RAPL: {error}"
