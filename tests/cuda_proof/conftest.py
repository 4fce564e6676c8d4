"""What runs on the emulation belongs to processes that `process.py` starts."""

from __future__ import annotations

import os
import sys

import pytest

from cuda_proof.stand_in_cupy import StandInCuPy, stand_in_torch

EMULATED = os.environ.get("GENFUSE_EMULATED_CUDA") == "1"
collect_ignore_glob = ["test_*.py"] if EMULATED else ["emulated"]


@pytest.fixture
def cupy(monkeypatch, tmp_path) -> StandInCuPy:
    """What launches are made with, on a device of compute capability 9.0 that is not there."""
    standin = StandInCuPy()
    monkeypatch.setitem(sys.modules, "cupy", standin)
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    stand_in_torch(monkeypatch)
    return standin
