"""The gradients of norms in CUDA: emulated on the host, cuda_proof/emulated/test_norm_gradient.py, and on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.process import run_emulated
from genfuse_kernels.conv_norm_act import spec
from genfuse_kernels.conv_norm_act.cuda_norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.norm_gradient import ReadGradient
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS
from ops.gradient_cases import Wanted, random_gradient


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_norm_gradient.py")


@pytest.mark.device("cuda")
@pytest.mark.parametrize("seed", range(126))
def test_on_the_device(seed: int) -> None:
    norm, activation = NORMS[seed % len(NORMS)], ACTIVATIONS[seed // 2 % len(ACTIVATIONS)]
    case = random_gradient(np.random.default_rng([51, seed]), spec.DTYPES[seed % 3], norm, activation)
    there: Any = {name: None if t is None else t.cuda() for name, t in case.tensors.items()}  # type: ignore[attr-defined]
    found = read_gradient(
        case.gradient.cuda(),
        case.x.cuda(),
        case.settings,
        there,
        through_stats=not case.stats_given,
        needs=case.needs,
    )
    Wanted(case).check(ReadGradient(**{name: gradient.cpu() for name, gradient in found.items()}))
