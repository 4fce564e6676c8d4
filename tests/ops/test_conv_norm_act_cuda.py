"""`conv_norm_act` in CUDA: emulated on the host, cuda_proof/emulated/test_conv_*.py, and on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.settings import Settings
from ops.conv_cases import IMAGE_LAYOUTS
from ops.cuda_conv_cases import DTYPES, check, check_gradients, random_unit
from triton_proof.seeds import rotating

FILES = ("test_conv_norm_act.py", "test_conv_segments.py", "test_conv_gradient.py", "test_bank_conflicts.py")


@needs_compiler
@pytest.mark.parametrize("file", [FILES[i] for i in rotating(2, len(FILES))])
def test_cases_on_the_emulation(file: str) -> None:
    run_emulated(file)


@pytest.mark.device("cuda")
@pytest.mark.parametrize("seed", rotating(60, 240))
def test_random_units_on_the_device(seed: int) -> None:
    rng = np.random.default_rng([61, seed])
    case = random_unit(rng, DTYPES[seed % 3])
    check(on_device(conv_norm_act), case, IMAGE_LAYOUTS[seed // 3 % len(IMAGE_LAYOUTS)])


@pytest.mark.device("cuda")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_pictures_bits_are_its_own_on_the_device(dtype: torch.dtype) -> None:
    """One alone has its sums split among blocks, in a batch a block has all."""
    last = {"device": "cuda", "dtype": dtype, "memory_format": torch.channels_last}
    x, weight = torch.randn(40, 512, 8, 8).to(**last), torch.randn(512, 512, 3, 3).to(**last)
    found = []
    for batch in (x, x[39:]):
        out, stats = torch.empty_like(batch), torch.empty(*batch.shape[:2], 2, device="cuda")
        conv_norm_act(out, stats, batch, weight, None, Settings(padding=(1, 1), activation="silu"))
        found.append((out[-1], stats[-1]))
    for first, alone in zip(*found, strict=True):
        assert torch.equal(first, alone) and first.isfinite().all()


@pytest.mark.device("cuda")
@pytest.mark.parametrize("seed", rotating(60, 162))
def test_gradients_on_the_device(seed: int) -> None:
    check_gradients(seed, "cuda")
