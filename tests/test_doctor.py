"""`genfuse doctor` on machines that are made up: each thing that GPU kernels lack is named, with what to do."""

from __future__ import annotations

import importlib.util
import json
import sys
import sysconfig
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from cuda_proof.build import needs_compiler
from cuda_proof.stand_in_driver import build_driver
from genfuse import dispatch, doctor, env
from genfuse.cli import app
from genfuse.doctor import Driver, Finding, ask_driver, gpu_findings
from genfuse_kernels.common import nvrtc

READY = Driver((13, 0), (("Stand-in", (9, 0)),))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str | None]:
    """All is well; what is installed can be changed by the test."""
    installed: dict[str, str | None] = {"triton": "3.9.0", "cupy-cuda13x": "14.0.0"}
    monkeypatch.setattr(env, "version", installed.get)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if installed.get(name) else None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(nvrtc, "library", lambda: object())
    monkeypatch.setattr(nvrtc, "numbers", lambda: (13, 0))
    monkeypatch.setattr(nvrtc, "architectures", lambda: (80, 90, 100))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace())
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    monkeypatch.setenv("CC", "sh")
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_config_var", {"INCLUDEPY": str(tmp_path)}.get)
    return installed


def problem(driver: Driver = READY) -> Finding:
    """The only one."""
    (found,) = (finding for finding in gpu_findings(driver) if finding.advice)
    return found


def test_nothing_to_do_where_all_is_there(machine: dict[str, str | None]) -> None:
    findings = list(gpu_findings(READY))
    assert not [finding for finding in findings if finding.advice]
    assert {"GPU driver", "PyTorch", "GPU 0", "triton", "CuPy", "NVRTC"} < {each.what for each in findings}


@pytest.mark.parametrize(
    ("driver", "said", "advice"),
    [
        (
            Driver(error="libcuda.so.1: cannot open", is_absent=True),
            "none (libcuda",
            "install NVIDIA's driver",
        ),
        (Driver(error="no answer within 20 s", hangs=True), "no answer", "whether `nvidia-smi` answers"),
        (
            Driver((12, 4), READY.devices),
            "built with CUDA 13.0, too new for the driver's 12.4",
            "update the driver to 580 or newer, or install a PyTorch built with CUDA 12",
        ),
        (
            Driver((11, 4), READY.devices),
            "built with CUDA 13.0, too new for the driver's 11.4",
            "update the driver to 580 or newer",
        ),
        (
            Driver((13, 0), (*READY.devices, ("Old", (7, 5)))),
            "Old, compute capability 7.5: too low for every Triton and CUDA kernel, which need 8.0",
            "PyTorch's own kernels (aten) run there",
        ),
    ],
)
def test_drivers_and_devices(machine: dict[str, str | None], driver: Driver, said: str, advice: str) -> None:
    found = next(finding for finding in gpu_findings(driver) if finding.advice)
    assert said in found.found and advice in found.advice


def test_no_device_is_visible(machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert problem(Driver((13, 0))) == (
        "GPU driver",
        "for CUDA 13.0, 0 GPUs",
        "CUDA_VISIBLE_DEVICES is '': name a GPU there, or unset it",
    )


def test_builds_of_pytorch(machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert problem() == ("PyTorch", "a CPU build: it sees no GPU", "install a CUDA build of PyTorch")
    monkeypatch.setattr(torch.version, "hip", "6.4")
    machine.pop("cupy-cuda13x")
    findings = list(gpu_findings(READY))
    assert not [finding for finding in findings if finding.advice or finding.what == "CuPy"]


@pytest.mark.parametrize(
    ("cuda", "driver", "installed", "said", "advice"),
    [
        ("13.0", (13, 0), {"triton": None}, "not installed", "pip install 'genfuse[triton]'"),
        ("13.0", (13, 0), {"cupy-cuda13x": None}, "not installed", "pip install 'genfuse[cuda13]'"),
        (
            "13.0",
            (13, 0),
            {"cupy-cuda12x": "14.0.0", "cupy-cuda13x": None},
            "cupy-cuda12x 14.0.0, but this machine needs that of cuda13",
            "pip uninstall cupy-cuda12x; pip install 'genfuse[cuda13]'",
        ),
        (
            "13.0",
            (13, 0),
            {"cupy-cuda12x": "14.0.0"},
            "cupy-cuda12x 14.0.0 and cupy-cuda13x 14.0.0, which overwrite each other",
            "pip uninstall cupy-cuda12x cupy-cuda13x; pip install 'genfuse[cuda13]'",
        ),
    ],
)
def test_packages(
    machine: dict[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
    cuda: str,
    driver: tuple[int, int],
    installed: dict[str, str | None],
    said: str,
    advice: str,
) -> None:
    machine |= installed
    found = problem(READY._replace(version=driver))
    assert found.found == said and found.advice == advice


def test_the_extra_is_that_of_pytorchs_cuda(
    machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.pop("cupy-cuda13x")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert problem().advice == "pip install 'genfuse[cuda12]'"
    (_, nvrtc_is_new) = (each for each in gpu_findings(READY._replace(version=(12, 8))) if each.advice)
    assert nvrtc_is_new.found == "13.0, too new for the driver's CUDA 12.8"
    assert nvrtc_is_new.advice == "update the driver to 580 or newer, or pip install 'genfuse[cuda12]'"
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    machine["cupy-cuda12x"] = "14.0.0"
    assert problem() == ("NVRTC", "not found", "pip install 'genfuse[cuda12]'")


def test_a_broken_cupy_is_named(machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # its import raises
    assert "which cannot be imported: import of cupy halted" in problem().found


def test_a_device_that_nvrtc_does_not_know(
    machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Driver((13, 0), (("New", (12, 0)),))
    device = next(finding for finding in gpu_findings(new) if finding.what == "GPU 0")
    assert "the driver compiles PTX of compute_100" in device.found and not device.advice
    monkeypatch.setattr(nvrtc, "numbers", lambda: (13, 5))
    assert problem(new).advice == "update the driver: that for CUDA 13.0 cannot compile newer PTX"


def test_compiler_folders_and_logs(
    machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    assert problem().what == "C compiler"
    monkeypatch.setenv("CC", "sh")
    (tmp_path / "Python.h").unlink()
    assert problem()[:2] == (
        "Python's headers",
        f"{tmp_path / 'Python.h'} is not there, but Triton builds its launchers with it",
    )
    (tmp_path / "Python.h").touch()
    log = tmp_path / "cache" / "cuda" / "sampler_step-sm_90a-0.log"
    log.parent.mkdir(parents=True)
    log.touch()
    assert problem()[:2] == ("failed compilation", str(log))
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path / "file"))
    assert "set GENFUSE_CACHE to another folder" in problem().advice


@needs_compiler
def test_the_driver_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build_driver(tmp_path).parent))
    monkeypatch.setenv("STANDIN_VERSION", "12040")
    monkeypatch.setenv("STANDIN_DEVICES", "NVIDIA H100 80GB HBM3:9:0;Tesla T4:7:5;")
    assert ask_driver() == Driver((12, 4), (("NVIDIA H100 80GB HBM3", (9, 0)), ("Tesla T4", (7, 5))))
    monkeypatch.setenv("STANDIN_INIT", "803")
    assert ask_driver().error.startswith(
        "cuInit failed with status 803: system has unsupported display driver"
    )
    (tmp_path / "libcuda.so.1").write_text("no library")
    assert ask_driver().is_absent


@needs_compiler
def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And PyTorch is not asked about GPUs: it would wait, too."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build_driver(tmp_path).parent))
    monkeypatch.setenv("STANDIN_SLEEP", "60")
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("PyTorch was asked"))
    begin = time.monotonic()
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == 0 and time.monotonic() - begin < 30
    assert "GPU driver: no answer within 0 s\n    -> see whether `nvidia-smi` answers" in told.output


def test_an_answer_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda text: (_ for _ in ()).throw(ValueError))
    assert ask_driver().error == "asking it ended with status 0: without a word"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of compute capability 7.5, and another of 9.0, for PyTorch alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: ((7, 5), (9, 0))[number])
    monkeypatch.setattr(env, "incapable", env.incapable.__wrapped__)
    monkeypatch.setattr(env, "backend_missing", env.backend_missing.__wrapped__)


def test_each_gpu_has_its_own_capability(gpu: None) -> None:
    of = [dispatch.obstacle("norm_act", "triton", torch.device("cuda", i), torch.float32) for i in (0, 1)]
    assert of == ["the GPU has compute capability 7.5, expected 8.0 or higher", None]


def test_falling_back_is_not_silent(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(dispatch, "_warn", dispatch._warn.__wrapped__)
    cuda = torch.device("cuda", 1)
    with pytest.warns(
        UserWarning, match=r"triton: triton is not installed; pip .*cuda: CuPy is not .*doctor"
    ):
        assert dispatch.resolve("sampler_step", cuda, torch.float32) == "aten"
    with pytest.warns(UserWarning, match=r"triton: triton is not installed"):
        assert dispatch.resolve("linear", cuda, torch.float32) == "aten"  # has no kernel in CUDA
