"""Runs one file of `emulated/` in a process of its own, with AddressSanitizer loaded before everything else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cuda_proof.build import runtime
from triton_proof.seeds import WHOLE

EMULATED = Path(__file__).parent / "emulated"


def run_emulated(file: str) -> None:
    """Fail unless every case of `file` passes; a case that is skipped has proven nothing and fails too."""
    environment = os.environ | {
        "GENFUSE_EMULATED_CUDA": "1",
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libstdc++.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python and PyTorch leave memory behind on purpose
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    # Output is not captured: a sanitizer's report would go with the process that it ends.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-s",
        "-p",
        "no:cacheprovider",
        str(EMULATED / file),
    ]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=7200 if WHOLE else 600
    )
    report = result.stdout + result.stderr
    assert result.returncode == 0, report
    assert re.search(r"^\d+ passed", report, re.MULTILINE) and "skipped" not in report, report
