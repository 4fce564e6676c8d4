"""Sequences (N, C, L) through the ops for pictures, against PyTorch's own 1-D functions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.ops import conv_norm_act, norm_act, norm_stats
from genfuse_kernels.common import packed_weights

X, WEIGHT, BIAS = (2, 12, 37), (20, 12, 5), (20,)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def close(ours: Any, theirs: Tensor) -> bool:
    return isinstance(ours, Tensor) and ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_convolutions(channels_last: bool) -> None:
    x, weight, bias = randn(*X), randn(*WEIGHT), randn(*BIAS)
    if channels_last:
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    y = conv_norm_act(x, weight, bias, stride=2, padding=(3,), dilation=2)
    assert close(y, F.conv1d(x, weight, bias, 2, 3, 2))
    assert isinstance(y, Tensor) and (y.stride(1) == 1) == channels_last
    assert close(conv_norm_act(x, randn(18, 4, 5), groups=3), F.conv1d(x, randn(18, 4, 5), groups=3))
    up = randn(12, 7, 4)
    y = conv_norm_act(x, up, transposed=True, stride=(3,), padding=1, output_padding=2)
    assert close(y, F.conv_transpose1d(x, up, None, 3, 1, 2))
    for mode, name in (("zeros", "constant"), ("reflect", "reflect"), ("circular", "circular")):
        y = conv_norm_act(x, weight, padding=(1, 4), padding_mode=mode)  # type: ignore[arg-type]
        assert close(y, F.conv1d(F.pad(x, (1, 4), mode=name), weight))


def test_whole_units() -> None:
    x, skip, weight, bias = randn(2, 8, 36), randn(2, 4, 36), randn(*WEIGHT), randn(*BIAS)
    scale, offset, shift = randn(12), randn(12) + 1, randn(2, 20)
    residual, projection = randn(2, 7, 72), randn(20, 7, 1)
    y, stats = conv_norm_act(
        x, weight, bias, padding=2, upsample=2, skip=skip, norm="group", num_groups=3, norm_weight=scale,
        norm_bias=offset, activation="silu", shift=shift, residual=residual, residual_weight=projection,
        out_activation="relu", pool=2, return_stats=True,
    )  # fmt: skip
    h = F.silu(F.group_norm(torch.cat([x, skip], 1), 3, scale, offset))
    want = F.conv1d(F.interpolate(h, scale_factor=2.0), weight, bias, padding=2) + shift[:, :, None]
    want = F.avg_pool1d(F.relu(want + F.conv1d(residual, projection)), 2)
    assert close(y, want) and torch.allclose(stats[..., 0], want.mean(2), atol=1e-4)
    y = conv_norm_act(x, randn(5, 8, 3), residual=randn(2, 5, 34), norm="instance", stats=norm_stats(x))
    assert close(y, F.conv1d(F.instance_norm(x), randn(5, 8, 3)) + randn(2, 5, 34))


def test_norms_and_statistics() -> None:
    x, residual = randn(*X), randn(2, 12, 37)
    y = norm_act(x, norm="batch", activation="gelu", residual=residual, pool=2)
    assert close(y, F.avg_pool1d(F.gelu(F.batch_norm(x, None, None, training=True)) + residual, 2))
    assert close(norm_act(x, norm="layer_pixel"), F.layer_norm(x.transpose(1, 2), (12,)).transpose(1, 2))
    assert torch.allclose(norm_stats(x), torch.stack([x.mean(2), x.var(2, correction=0)], 2), atol=1e-5)


def test_masks_are_those_of_a_picture_of_height_1() -> None:
    x, seeds = torch.ones(X), torch.tensor([1, 2])
    y = norm_act(x, dropout=0.5, seeds=seeds)
    assert isinstance(y, Tensor)
    assert torch.equal(y[:, :, None], norm_act(x[:, :, None], dropout=0.5, seeds=seeds))  # type: ignore[arg-type]
    assert close(conv_norm_act(x, randn(*WEIGHT), dropout=0.5, seeds=seeds), F.conv1d(y, randn(*WEIGHT)))


def test_gradients_and_compilation() -> None:
    leaves = [t.double().requires_grad_() for t in (randn(2, 4, 9), randn(3, 4, 3), randn(2, 3, 9))]

    def f(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
        y = conv_norm_act(x, weight, padding=1, norm="instance", activation="tanh", residual=residual)
        assert isinstance(y, Tensor)
        return y

    assert torch.autograd.gradcheck(f, leaves)
    single = [t.detach().float() for t in leaves]
    assert torch.equal(torch.compile(f, fullgraph=True)(*single), f(*single))


def test_weights_are_packed_once() -> None:
    """A view of the weight would be another tensor in every call."""
    x, weight = randn(*X), torch.nn.Parameter(randn(*WEIGHT))
    packed_weights.refresh()
    with torch.no_grad():
        for _ in range(3):
            conv_norm_act(x, weight)
    assert list(packed_weights._kept) == [weight]
