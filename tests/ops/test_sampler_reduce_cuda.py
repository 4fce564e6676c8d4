"""`sampler_reduce` in CUDA: emulated on the host, cuda_proof/emulated/test_sampler_reduce.py, and on a GPU."""

from __future__ import annotations

import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.sampler_reduce.cuda_impl import sampler_reduce
from ops.reduce_contract import ReduceContract


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_sampler_reduce.py")


@pytest.mark.device("cuda")
class TestOnTheDevice(ReduceContract):
    kernel = staticmethod(on_device(sampler_reduce))
