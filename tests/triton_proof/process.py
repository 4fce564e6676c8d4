"""Runs files of `interpreted/` in a process of their own, under the interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from triton_proof.seeds import WHOLE

INTERPRETED = Path(__file__).parent / "interpreted"


def run_interpreted(*files: str) -> None:
    """Fail unless every case of these passes; a case that is skipped has proven nothing and fails too."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += [str(INTERPRETED / file) for file in files]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=7200 if WHOLE else 600
    )
    report = result.stdout + result.stderr
    assert result.returncode == 0, report
    assert re.search(r"^\d+ passed", report, re.MULTILINE) and "skipped" not in report, report
