"""`sampler_step` in CUDA: emulated on the host, cuda_proof/emulated/test_sampler_step.py, and on a GPU."""

from __future__ import annotations

import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.sampler_step.cuda_impl import sampler_step
from ops.step_contract import StepContract


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_sampler_step.py")


@pytest.mark.device("cuda")
class TestOnTheDevice(StepContract):
    kernel = staticmethod(on_device(sampler_step))
