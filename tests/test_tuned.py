"""`backend(reproducible=False)` on a GPU: measured once a device and shape class, never in a capture. Timer and GPU are
stand-ins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import genfuse
from genfuse import cli, dispatch, env, measured, tuned
from genfuse.measured import Measured

GPU = torch.device("cuda", 0)


class Way(NamedTuple):
    block: int = 128


RULE = Way()


class Device:
    """What ran, and how long each kernel takes."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.seconds = {"triton 128": 5e-5, "triton 64": 3e-5, "triton 32": 2e-5, "cuda": 4e-5, "aten": 6e-5}
        self.capturing = False
        self.laps = 0

    def lap(self, run: Callable[[], None], device: torch.device) -> float:
        assert device == GPU and not self.capturing
        self.laps += 1
        run()
        return self.seconds[self.ran[-1]]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Device]:
    standin = Device()
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: standin.capturing)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: GPU.index)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(env, "gpu_driver", lambda: "580.65.06")
    monkeypatch.setattr(env, "backend_missing", lambda name: None)
    monkeypatch.setattr(env, "incapable", lambda number: None)
    monkeypatch.setattr(tuned, "lap", standin.lap)
    monkeypatch.setattr(dispatch, "launcher", lambda op, name: launchers(standin)[name])
    fresh_process()
    yield standin
    fresh_process()


def fresh_process() -> None:
    measured.loaded.cache_clear()
    tuned._place.cache_clear()


def launchers(standin: Device) -> dict[str, Callable[..., None]]:
    """Triton's has three configurations; of the second's blocks there is no room for."""
    module = ModuleType("stand_in_triton_impl")

    def triton(out: Tensor, x: Tensor, *, way: Way = RULE) -> None:
        standin.ran.append(f"triton {way.block}")
        if standin.seconds[standin.ran[-1]] < 0:
            raise RuntimeError("out of resources: shared memory")

    def cuda(out: Tensor, x: Tensor) -> None:
        standin.ran.append("cuda")

    def aten(out: Tensor, x: Tensor) -> None:
        standin.ran.append("aten")

    triton.__module__ = module.__name__
    vars(module).update(Way=Way, ways=lambda *_, **__: {"": RULE, "64 pixels": Way(64), "32 pixels": Way(32)})
    sys.modules[module.__name__] = module
    return {"triton": triton, "cuda": cuda, "aten": aten}


def call(*shape: int, strict: bool | None = None) -> list[Measured]:
    """What the call's choice was."""
    told: list[Measured] = []
    x = torch.empty(shape)
    with genfuse.backend(reproducible=False, strict=strict), measured.telling(told.append):
        dispatch.select("conv_norm_act", GPU, x.dtype)(torch.empty(shape), x)
    return told


def test_the_fastest_runs_and_a_fresh_process_reads_it(device: Device, tmp_path: Path) -> None:
    (choice,) = call(8, 64, 32, 32)
    assert (str(choice), choice.way, choice.seconds, choice.by_rule) == (
        "triton 32 pixels",
        (32,),
        2e-5,
        5e-5,
    )
    assert device.ran[-1] == "triton 32" and choice.is_gain
    (file,) = (tmp_path / "measured").iterdir()
    assert file.name == "nvidia-h100-80gb-hbm3-driver-580-65-06.json" == tuned.place(GPU).file.name
    assert [entry["call"] for entry in json.loads(file.read_text())["measured"]] == [choice.call]
    laps = device.laps
    assert laps == 5 * tuned.ROUNDS
    fresh_process()
    assert call(8, 64, 32, 32) == [choice] == tuned.choices(GPU) and device.laps == laps


def test_shapes_of_a_class_are_measured_once(device: Device) -> None:
    (choice,) = call(33, 320, 60, 64)
    assert call(64, 320, 64, 33) == [choice]
    for other in ((64, 321, 64, 64), (65, 320, 64, 64), (33, 320, 7, 7)):
        assert call(*other) != [choice]
    assert "64x320x64x64 float32" in choice.call


def test_another_driver_and_other_kernels_are_measured_anew(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(2, 8)
    laps = device.laps
    monkeypatch.setattr(env, "gpu_driver", lambda: "590.1")
    fresh_process()
    call(2, 8)
    assert device.laps == 2 * laps
    monkeypatch.setattr(tuned, "_kernels", lambda: "other sources")
    fresh_process()
    call(2, 8)
    assert device.laps == 3 * laps
    tuned.forget(GPU)
    assert not tuned.choices(GPU)


def test_nothing_is_measured_in_a_capture(device: Device, tmp_path: Path) -> None:
    """The default configuration is taken."""
    device.capturing = True
    assert call(2, 8) == [] and device.ran == ["triton 128"]
    assert not (tmp_path / "measured").exists()
    device.capturing = False
    call(2, 8)
    device.capturing = True
    device.ran.clear()
    assert str(*call(2, 8)) == "triton 32 pixels" and device.ran == ["triton 32"]


def test_explain_says_what_a_capture_takes(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.empty(2, 8, 4, 4)
    monkeypatch.setattr(dispatch, "choose", _on_gpu(dispatch.choose))
    monkeypatch.setattr(
        genfuse.ops, "norm_act", lambda x: dispatch.select("norm_act", GPU, x.dtype)(torch.empty_like(x), x)
    )
    with genfuse.backend(reproducible=False):
        device.capturing = True
        assert genfuse.explain("norm_act", x).reason.endswith(tuned.BY_RULE)
        device.capturing = False
        choice = genfuse.explain("norm_act", x)
    assert choice.reason == "triton 32 pixels: fastest here, measured at 20 µs; by rule 50 µs"
    device.seconds = dict.fromkeys(device.seconds, 1.0) | {"cuda": 0.5}
    tuned.forget(GPU)
    with genfuse.backend(reproducible=False):
        choice = genfuse.explain("norm_act", x)
    assert choice.backend == "cuda" and choice.passed_over["triton"] == "slower when it was measured"
    assert "by rule" not in genfuse.explain("norm_act", x).reason


def _on_gpu(choose: Any) -> Any:
    return lambda op, device, *others: choose(op, GPU, *others)


def test_what_does_not_fit_the_device_is_passed_over(device: Device) -> None:
    device.seconds["triton 32"] = -1.0
    assert str(*call(2, 8)) == "triton 64 pixels"
    device.seconds["triton 128"] = -1.0  # by rule: an error of its own
    with pytest.raises(RuntimeError, match="out of resources"):
        call(4, 8)


def test_a_rule_that_loses_by_little_stays(device: Device) -> None:
    device.seconds = dict.fromkeys(device.seconds, 0.97) | {"triton 128": 1.0}
    (choice,) = call(2, 8)
    assert choice.way == (128,) and not choice.is_gain


def test_strict_and_forced_backends_stay(device: Device) -> None:
    device.seconds["aten"] = 1e-9
    assert str(*call(2, 8, strict=True)) == "triton 32 pixels" and "aten" not in device.ran
    with genfuse.backend("cuda"):
        assert call(4, 8) == []
    assert device.ran[-1] == "cuda"
    dispatch.select("conv_norm_act", GPU, torch.float32)(torch.empty(4, 8), torch.empty(4, 8))
    assert device.ran[-1] == "triton 128"  # reproducible is the default


def test_laps_are_between_events_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("record")

        def synchronize(self) -> None:
            done.append("synchronize")

        def elapsed_time(self, end: Event) -> float:
            return 2.5  # milliseconds

    class on:
        def __init__(self, device: torch.device) -> None:
            assert device == GPU

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", on)
    assert tuned.lap(lambda: done.append("run"), GPU) == pytest.approx(2.5e-3 / tuned.REPEATS)
    assert done == ["record", *["run"] * tuned.REPEATS, "record", "synchronize"]


def test_the_command_fills_it_ahead(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what is measured anyway: of the device that is named."""
    from genfuse.ops import check
    from genfuse.systems import ddpm, sampling

    def sample_pictures(system: object, count: int, *, device: torch.device, **options: object) -> None:
        assert device == GPU
        dispatch.select("conv_norm_act", GPU, torch.float32)(torch.empty(count, 8), torch.empty(count, 8))

    monkeypatch.setattr(ddpm, "load", lambda path: None)
    monkeypatch.setattr(sampling, "sample_pictures", sample_pictures)
    monkeypatch.setattr(check, "device", lambda name, device: torch.device(device))
    command: Sequence[str] = ("tune", "--device", "cuda:0", "--batch", "4")
    told = CliRunner().invoke(cli.app, [*command, "--forget"])
    assert told.exit_code == 0, told.output
    assert "triton 32 pixels" in told.output and "1 of 1 kinds of calls run faster" in told.output
    assert str(tuned.place(GPU).file) in told.output.replace("\n", "")
    laps = device.laps
    fresh_process()
    assert CliRunner().invoke(cli.app, command).exit_code == 0 and device.laps == laps


def test_the_drivers_version(monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12"
    )
    monkeypatch.setattr(Path, "read_text", lambda self, **_: told)
    assert env.gpu_driver() == "580.65.06"
    told = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19"
    assert env.gpu_driver() == "535.104.05"
    told = ""
    assert env.gpu_driver().startswith("cuda ")
