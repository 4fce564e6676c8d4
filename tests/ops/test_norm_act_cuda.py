"""`norm_act` in CUDA: emulated on the host, cuda_proof/emulated/test_norm_act.py, and on a GPU."""

from __future__ import annotations

import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.norm_act.cuda_impl import norm_act
from ops.norm_cases import check_call, random_call


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_norm_act.py")


@pytest.mark.device("cuda")
@pytest.mark.parametrize("seed", range(126))
def test_on_the_device(seed: int) -> None:
    check_call(on_device(norm_act), *random_call(seed), measures=seed % 2 == 0)
