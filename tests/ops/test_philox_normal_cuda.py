"""`philox_normal` in CUDA: emulated on the host, cuda_proof/emulated/test_philox_normal.py, and on a GPU."""

from __future__ import annotations

import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.philox_normal.cuda_impl import philox_normal
from ops.philox_contract import PhiloxContract


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_philox_normal.py")


@pytest.mark.device("cuda")
class TestOnTheDevice(PhiloxContract):
    kernel = staticmethod(on_device(philox_normal))
