"""A process that has other OpenMP runtimes, that forks after use, or is two: the same numbers, and no wait for ever.

python tests/reliability/other_runtimes.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

OTHERS = ("sklearn.cluster", "scipy.linalg", "openvino", "onnxruntime", "ncnn")
"""Packages that bring OpenMP runtimes, or thread pools, of their own; those not installed are said to be missing."""

DRAW = """
import hashlib, importlib, sys
{before}
import torch, genfuse
{after}
torch.set_num_threads(2)
x = genfuse.ops.philox_normal(torch.arange(8), (8, 16, 40, 40))
w = genfuse.ops.philox_normal(torch.arange(16), (16, 16, 3, 3), row=1)
y = genfuse.ops.conv_norm_act(x, w, padding=1, norm="group", num_groups=4, activation="silu")
for _ in range(5):
    assert torch.equal(genfuse.ops.conv_norm_act(x, w, padding=1, norm="group", num_groups=4, activation="silu"), y)
print(hashlib.sha256(y.numpy().tobytes()).hexdigest())
"""

FORK = """
import os, signal
child = os.fork()
if child == 0:
    signal.alarm(60)
    again = genfuse.ops.conv_norm_act(x, w, padding=1, norm="group", num_groups=4, activation="silu")
    os._exit(0 if again.numpy().tobytes() == y.numpy().tobytes() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

SHARED = """
import sys
import numpy as np
from genfuse import measured
from genfuse.data.cache import cached_array
from genfuse_kernels.common.cache_directory import cache_directory
me = sys.argv[1]
place = measured.Place(cache_directory() / "measured" / "here.json", "build")
for turn in range(100):
    kept = cached_array(f"key{turn % 7}", lambda: np.full(5000, turn % 7))
    assert (kept == turn % 7).all()
    if turn % 3 == 0:
        (cache_directory() / f"key{turn % 7}.npz").unlink(missing_ok=True)
    measured.loaded(place)["linear", f"{me} {turn}"] = measured.Measured("linear", f"{me} {turn}", "cpu", "", (), 1, 2)
    measured.save(place)
measured.loaded.cache_clear()
assert measured.loaded(place)  # whole, whoever wrote it last
"""


def answer(code: str, *arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def runtimes() -> None:
    """Beside each package, imported before genfuse and after it."""
    want = answer(DRAW.format(before="", after=""))
    for package in OTHERS:
        try:
            answer(f"import {package}")
        except AssertionError:
            print(f"beside {package}: not installed")
            continue
        code = f"importlib.import_module({package!r})"
        assert answer(DRAW.format(before=code, after="")) == want
        assert answer(DRAW.format(before="", after=code)) == want
        print(f"beside {package}, imported before and after: the same bits")


def fork() -> None:
    """A child that works on after its parent did, on PyTorch's threads: ours sees the fork."""
    answer(DRAW.format(before="", after="") + FORK)
    print("a child of fork, after use on two threads: the same bits")


def two_processes() -> None:
    """That read, write and remove the same entries of a cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GENFUSE_CACHE": folder}
        both = [
            subprocess.Popen([sys.executable, "-c", SHARED, name], env=environment, stdout=subprocess.PIPE)
            for name in ("a", "b")
        ]
        for process in both:
            process.communicate(timeout=600)
            assert process.returncode == 0
    print("two processes, 100 entries each, in one cache: every read whole")


if __name__ == "__main__":
    runtimes()
    fork()
    two_processes()
