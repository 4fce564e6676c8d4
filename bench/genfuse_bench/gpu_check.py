"""`make gpu-check`: all that has to be run on a machine with a GPU, one step after the other.

    python -m genfuse_bench.gpu_check                     the suite, the sanitizer, the benches
    python -m genfuse_bench.gpu_check --device cpu --quick    a rehearsal without a GPU

Each step's output is kept in bench/results/<device>/check, and check.json beside it says which steps held, on what.
A step that fails or takes too long does not keep the next ones from running.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from genfuse import env
from genfuse_bench.machine import Machine
from genfuse_bench.steps import Step, run

RESULTS = Path(__file__).parents[1] / "results"

SANITIZED = tuple(
    f"tests/ops/test_{of}_cuda.py"
    for of in (
        "philox_normal",
        "sampler_step",
        "sampler_reduce",
        "norm_stats",
        "norm_act",
        "norm_gradient",
        "conv_norm_act",
    )
)
"""Tests that compute-sanitizer watches, under which a kernel takes a hundred times as long: every kernel in CUDA."""


def steps(device: str, output: Path, *, quick: bool) -> Iterator[Step]:
    """All of them; `quick`: a few tests, and benches of small tensors."""
    python, genfuse = sys.executable, [sys.executable, "-m", "genfuse"]
    on_gpu = device.startswith("cuda")
    backends = "cpu,triton" if torch.version.hip else "cpu,triton,cuda"
    needed = (("GENFUSE_REQUIRE_BACKENDS", backends),) if on_gpu else ()
    yield Step("doctor", [*genfuse, "doctor"], 300.0)
    tests = ["-m", "device", "tests/device", *SANITIZED] if quick else []
    yield Step("tests", [python, "-m", "pytest", "-q", *tests], environment=needed)
    sanitizer = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck", "synccheck") if sanitizer else ():
        watched = [python, "-m", "pytest", "-q", "-m", "device", *SANITIZED]
        options = ["--tool", tool, "--target-processes", "all", "--error-exitcode", "1"]
        uncached = (("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),)  # so that each tensor has bounds of its own
        yield Step(f"sanitizer-{tool}", [str(sanitizer), *options, *watched], environment=needed + uncached)
    common = ["--device", device, "--output", str(output), *(["--quick"] if quick else [])]
    yield Step("bench-ops", [*genfuse, "bench", "ops", *common])
    yield Step("bench-sampler_step", [*genfuse, "bench", "sampler_step", *common])


def name_of(device: str) -> str:
    """A device's folder: its name, in small letters."""
    where = torch.device(device)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"rehearsal-{where}"
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def check(device: str, results: Path, *, quick: bool) -> bool:
    """Run all steps; whether each held."""
    folder = results / name_of(device)
    logs = folder / "check"
    logs.mkdir(parents=True, exist_ok=True)
    print(f"{Machine.here()}\n-> {folder}", flush=True)
    outcomes = []
    for step in steps(device, folder, quick=quick):
        print(f"{step.name} ...", end=" ", flush=True)
        outcome = run(step, logs)
        outcomes.append(outcome)
        why = "held" if outcome.held else f"FAILED, status {outcome.status}: see {logs / outcome.log}"
        print(f"{why} ({outcome.seconds} s)", flush=True)
    machine = Machine.here()
    summary = {
        "commit": machine.commit,
        "dirty": machine.dirty,
        "device": device,
        "driver": env.gpu_driver(),
        "quick": quick,
        "sanitizer": shutil.which("compute-sanitizer") is not None,
        "machine": machine.describe(),
        "versions": machine.versions,
        "steps": [asdict(outcome) for outcome in outcomes],
    }
    (folder / "check.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    if not summary["sanitizer"]:
        print("compute-sanitizer is not installed (it comes with the CUDA toolkit): kernels ran unwatched")
    return all(outcome.held for outcome in outcomes)


def main() -> None:
    """Exit status 1 where a step did not hold."""
    parser = argparse.ArgumentParser(description="All that has to be run on a machine with a GPU.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu is a rehearsal")
    parser.add_argument("--output", type=Path, default=RESULTS, help="gets a folder named after the device")
    parser.add_argument("--quick", action="store_true", help="a few tests, and benches of small tensors")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(
            "PyTorch sees no GPU; `genfuse doctor` says why (--device cpu rehearses all steps without one)"
        )
    sys.exit(0 if check(given.device, given.output, quick=given.quick) else 1)


if __name__ == "__main__":
    main()
