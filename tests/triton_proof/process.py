"""Runs one file of `interpreted/` in a process of its own, under the interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

INTERPRETED = Path(__file__).parent / "interpreted"


def run_interpreted(file: str) -> None:
    """Fail unless every case of `file` passes; a case that is skipped has proven nothing and fails too."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(INTERPRETED / file)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    report = result.stdout + result.stderr
    assert result.returncode == 0, report
    assert re.search(r"^\d+ passed", report, re.MULTILINE) and "skipped" not in report, report
