"""`norm_stats` in CUDA: emulated on the host, cuda_proof/emulated/test_norm_stats.py, and on a GPU."""

from __future__ import annotations

import pytest

from cuda_proof.build import needs_compiler
from cuda_proof.device import on_device
from cuda_proof.process import run_emulated
from genfuse_kernels.norm_stats.cuda_impl import norm_stats
from ops.norm_cases import check_stats, long_row, random_image


@needs_compiler
def test_cases_on_the_emulation() -> None:
    run_emulated("test_norm_stats.py")


@pytest.mark.device("cuda")
class TestOnTheDevice:
    @pytest.mark.parametrize("seed", range(60))
    def test_random_images(self, seed: int) -> None:
        check_stats(on_device(norm_stats), random_image(seed))

    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("first", [0.0, 1000.0])
    @pytest.mark.parametrize("length", [1029, 2**20 + 4])
    def test_a_long_row(self, length: int, first: float, channels_last: bool) -> None:
        check_stats(on_device(norm_stats), long_row(first, channels_last, length))
