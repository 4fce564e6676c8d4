"""`make gpu-check`, rehearsed without a GPU, and what its bench takes in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from genfuse import dispatch, env
from genfuse_bench import gpu_check, gpu_ops, timing
from genfuse_bench.command import app
from genfuse_bench.gpu_check import check, steps
from genfuse_bench.gpu_command import OpRow
from genfuse_bench.steps import ROOT, Step, run

HAS_CPU = env.backend_missing("cpu") is None


def test_every_op_with_gpu_kernels_is_measured() -> None:
    on_gpu = {op for op, backends in dispatch.OPS.items() if {"triton", "cuda"} & set(backends)}
    assert on_gpu == {*gpu_ops.OPS, "sampler_step"}


@pytest.mark.parametrize("op", gpu_ops.OPS)
def test_everyone_computes_the_same(op: str) -> None:
    """In-place updates apart, whose ops have tests of their own."""
    for subject in gpu_ops.subjects([op], torch.float32, torch.device("cpu"), quick=True):
        with torch.no_grad():
            made = [made() for made in (*subject.ours.values(), *subject.peers.values())]
            exact = None if subject.exact is None else subject.exact()
        for result in made if exact is not None else ():
            assert torch.allclose(result.double(), exact, atol=1e-4 * float(exact.abs().max()))


@pytest.mark.skipif(not HAS_CPU, reason="the compiled extension is not built here")
def test_the_bench_of_ops(tmp_path: Path) -> None:
    """By the CPU's kernels: everyone on some ops, errors first."""
    options = ["--device", "cpu", "--quick", "--no-compiled", "--dtype", "float32", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, ["ops", "--ops", "norm_act,clip_weights", *options])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "ops_cpu.jsonl").read_text().splitlines()]
    assert [row["who"] for row in rows] == [
        *("ours cpu", "ours cpu channels-last", "eager", "eager channels-last"),
        *("ours cpu", "eager"),
    ]
    for row in rows:
        assert row["us"] is not None and row.keys() >= OpRow.__dataclass_fields__.keys()
        assert row["error"] is None or row["tolerance"] is None or row["error"] <= row["tolerance"]


def test_no_speed_without_correctness(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from genfuse_bench.gpu_command import SHORT, contest

    x = torch.randn(64)
    subject = gpu_ops.Subject(
        "norm_act",
        "planted",
        (64,),
        {"": lambda: x * 1.01},
        {"eager": lambda: x + 0},
        {"torch.compile": lambda: (_ for _ in ()).throw(RuntimeError("no compiler\nhere"))},
        lambda: x.double(),
    )
    console = Console(record=True)
    rows = contest(subject, torch.float32, torch.device("cpu"), SHORT, console)
    by = {row.who: row for row in rows}
    if HAS_CPU:
        assert by["ours cpu"].us is None and by["ours cpu"].ratio is None
    assert by["eager"].us is not None and "torch.compile" not in by
    assert "norm_act, torch.compile: no compiler" in console.export_text()


def test_laps_on_a_gpu_are_between_events_and_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("event")

        def elapsed_time(self, other: Event) -> float:
            return 0.25

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(timing, "synchronize", lambda device: done.append("wait"))
    call = timing.Call(lambda: done.append("call"))
    assert timing.laps(call, range(1, 4), torch.device("cuda")) == [0.25e6] * 3
    assert done == ["call", "wait", *["event", "call", "event"] * 3, "wait"]


@pytest.fixture
def sanitizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that says how it was called, and runs what it is given."""
    script = tmp_path / "bin" / "compute-sanitizer"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "$2 watches $PYTORCH_NO_CUDA_MEMORY_CACHING"\nshift 6\nexec "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return script


def test_all_steps_and_what_they_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sanitizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With commands that do nothing in place of those that take long; one fails, and the next ones still run."""
    real = list(steps("cpu", tmp_path, quick=True))
    assert [step.name for step in real] == [
        "doctor",
        "tests",
        "sanitizer-memcheck",
        "sanitizer-racecheck",
        "sanitizer-synccheck",
        "bench-ops",
        "bench-sampler_step",
    ]

    def short(device: str, output: Path, *, quick: bool) -> Any:
        for step in real:
            status = 3 if step.name == "tests" else 0
            code = [sys.executable, "-c", f"print('here'); raise SystemExit({status})"]
            watched = step.command[:7] if "sanitizer" in step.name else []
            yield Step(step.name, [*watched, *code], environment=step.environment)

    monkeypatch.setattr(gpu_check, "steps", short)
    assert not check("cpu", tmp_path, quick=True)
    folder = tmp_path / "rehearsal-cpu"
    summary = json.loads((folder / "check.json").read_text())
    assert {step["name"]: step["status"] for step in summary["steps"]} == {
        step.name: 3 if step.name == "tests" else 0 for step in real
    }
    assert (folder / "check" / "sanitizer-racecheck.log").read_text() == "racecheck watches 1\nhere\n"
    assert "tests ... FAILED, status 3: see" in capsys.readouterr().out
    assert summary["sanitizer"] and summary["commit"] and not summary["device"].startswith("cuda")


def test_on_a_gpu_its_backends_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by = {step.name: step for step in steps("cuda", tmp_path, quick=False)}
    assert by["tests"].command[-3:] == ["-m", "pytest", "-q"]
    assert dict(by["tests"].environment) == {"GENFUSE_REQUIRE_BACKENDS": "cpu,triton,cuda"}
    assert by["bench-ops"].command[-4:] == ["--device", "cuda", "--output", str(tmp_path)]
    monkeypatch.setattr(torch.version, "hip", "6.4")  # AMD's, which have Triton alone
    tests = next(step for step in steps("cuda", tmp_path, quick=False) if step.name == "tests")
    assert dict(tests.environment) == {"GENFUSE_REQUIRE_BACKENDS": "cpu,triton"}
    for path in gpu_check.SANITIZED:
        assert (ROOT / path).is_file()


def test_a_step_that_hangs_is_given_up(tmp_path: Path) -> None:
    """With the processes that it started."""
    code = "import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', 'while 1: pass'])"
    outcome = run(Step("hangs", [sys.executable, "-c", code], limit=0.5), tmp_path)
    assert outcome.status is None and not outcome.held and outcome.seconds < 30


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="PyTorch sees no GPU; `genfuse doctor` says why"):
        gpu_check.main()
