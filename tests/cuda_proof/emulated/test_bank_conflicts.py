"""No bank of shared memory is met twice by what a warp reads for the tensor cores, at any stride."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
import torch

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.conv_norm_act import cuda_conv, cuda_weight_gradient
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.settings import Settings
from triton_proof.seeds import rotating

DTYPE = torch.float16
GEOMETRY = [(1, 3), (2, 3), (2, 4), (2, 1), (3, 3)]
"""Strides and taps."""


@pytest.fixture
def counted(
    launch, emulation: Callable[[Kernel], ctypes.CDLL], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], int]:
    """Conflicts of what was launched since the last call."""
    launched: set[Kernel] = set()
    before: dict[Kernel, int] = {}

    def noted(kernel: Kernel, *arguments: object) -> None:
        before.setdefault(kernel, emulation(kernel).bank_conflicts())
        launched.add(kernel)
        launch(kernel, *arguments)

    for module in (cuda_conv, cuda_weight_gradient):
        monkeypatch.setattr(module, "launch", noted)

    def count() -> int:
        assert launched
        found = sum(emulation(kernel).bank_conflicts() - before.pop(kernel) for kernel in launched)
        launched.clear()
        return found

    return count


@pytest.mark.parametrize("stride, taps", [GEOMETRY[seed] for seed in rotating(2, len(GEOMETRY))])
def test_of_products(stride: int, taps: int, counted: Callable[[], int]) -> None:
    size = 16 * stride + taps - stride
    x, weight, out = (
        torch.randn(1, 32, size, size),
        torch.randn(32, 32, taps, taps),
        torch.empty(1, 32, 16, 16),
    )
    x, weight, out = (tensor.to(DTYPE, memory_format=torch.channels_last) for tensor in (x, weight, out))
    s = Settings(stride=(stride, stride))
    conv_norm_act(out, None, x, weight, None, s)
    assert counted() == 0
    cuda_weight_gradient.weight_gradient(out, x, weight, s)
    assert counted() == 0


def test_a_conflict_is_counted(counted: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of a tile of four columns lie in two rows of it, whose banks are the same at times."""
    x, weight, out = torch.randn(1, 32, 6, 6), torch.randn(32, 32, 3, 3), torch.empty(1, 32, 4, 4)
    x, weight, out = (tensor.to(DTYPE, memory_format=torch.channels_last) for tensor in (x, weight, out))
    conv_norm_act(out, None, x, weight, None, Settings())
    assert counted() > 0
