"""`conv_norm_act` in CUDA: emulated on the host, cuda_proof/emulated/test_conv_*.py, and on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from ops.conv_cases import IMAGE_LAYOUTS
from ops.cuda_conv_cases import DTYPES, check, check_gradients, random_unit
from triton_proof.seeds import rotating


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_conv_norm_act.py")


@needs_compiler
def test_gradients_on_the_emulation() -> None:
    run_emulated("test_conv_gradient.py")


@pytest.mark.device("cuda")
@pytest.mark.parametrize("seed", rotating(60, 240))
def test_random_units_on_the_device(seed: int) -> None:
    rng = np.random.default_rng([61, seed])
    case = random_unit(rng, DTYPES[seed % 3])
    check(on_device(conv_norm_act), case, IMAGE_LAYOUTS[seed // 3 % len(IMAGE_LAYOUTS)])


@pytest.mark.device("cuda")
@pytest.mark.parametrize("seed", rotating(60, 162))
def test_gradients_on_the_device(seed: int) -> None:
    check_gradients(seed, "cuda")
