"""Triton calls with kernel cards, beside a network's units: attention, linear layers, resampling, spectral norm."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfuse_bench.call import Call, ones
from genfuse_kernels.conv_norm_act.settings import Settings


def network_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Those of every op that takes the dtype."""
    yield from resampling_calls(dtype)
    yield from embedding_calls(dtype)
    if dtype != torch.float64:
        yield from attention_calls(dtype)
        yield from linear_calls(dtype)
        yield from spectral_calls(dtype)


def resampling_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Twice the size and half of it, by StyleGAN2's filter of 4 x 4 taps and StyleGAN3's of 12 along each axis."""
    from genfuse_kernels.upfirdn2d.triton_impl import upfirdn2d

    for layout, channels, memory_format in (
        ("contiguous", 4, torch.contiguous_format),  # each is a picture of its own
        ("channels_last", 16, torch.channels_last),
    ):
        small, large = (
            ones(2, channels, size, size, dtype=dtype, layout=memory_format) for size in (64, 128)
        )
        for taps, f in (("4 x 4 taps", ones(4, 4)), ("12 taps", ones(12))):
            half = f.shape[0] // 2
            larger = (large, small, f, (2, 2), (1, 1), (half, half - 1) * 2, False, 4.0)
            smaller = (small, large, f, (1, 1), (2, 2), (half - 1,) * 4, False, 1.0)
            yield Call(f"up, {taps}, {layout}", upfirdn2d, larger)
            yield Call(f"down, {taps}, {layout}", upfirdn2d, smaller)


def embedding_calls(dtype: torch.dtype) -> Iterator[Call]:
    """A U-Net's, of 64 samples."""
    from genfuse_kernels.timestep_embedding.triton_impl import timestep_embedding

    out, t = ones(64, 128, dtype=dtype), ones(64, dtype=dtype)
    yield Call("128 channels", timestep_embedding, (out, t, True, 0.0, 1.0, 1e4))


def attention_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Of 256 tokens, forwards and backwards, heads from 64 channels to an autoencoder's 512."""
    from genfuse_kernels.attention.spec import flops, triton_limit
    from genfuse_kernels.attention.triton_gradient import attention_gradient
    from genfuse_kernels.attention.triton_impl import attention

    for channels in (64, 128, 256, 512):
        q, k, v, out, gradient, *to = (
            ones(2, 256, 2, channels, dtype=dtype).transpose(1, 2) for _ in range(8)
        )
        logs, case = ones(2, 2, 256), f"{channels} channels"
        product = flops(2, 2, 256, 256, channels, 0)
        if triton_limit(dtype, channels, channels, False) is None:
            yield Call(case, attention, (out, q, k, v, 0.125), {"logs": logs}, flops=2 * product)
        if triton_limit(dtype, channels, channels, True) is None:
            back = (tuple(to), gradient, out, logs, q, k, v, 0.125)
            for kernel, products in (("query_gradient", 3), ("key_gradient", 4)):
                yield Call(case, attention_gradient, back, {}, (kernel,), products * product)


def linear_calls(dtype: torch.dtype) -> Iterator[Call]:
    """A transformer's layer that widens, with its activation before it and a residual."""
    from genfuse_kernels.conv_norm_act.spec import flops
    from genfuse_kernels.linear.triton_impl import linear

    x, weight, out, residual = (
        ones(*size, dtype=dtype) for size in ((2048, 256), (512, 256), (2048, 512), (2048, 512))
    )
    arguments = (out, x, weight, ones(512), Settings(activation="silu"), residual)
    work = flops(2048, 512, 1, 256)
    yield Call("linear, silu, 256 to 512", linear, arguments, {}, ("conv_norm_act",), work)


def spectral_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Of two convolutions of a critic, one step and its gradient."""
    from genfuse_kernels.spectral_norm.triton_impl import spectral_norm, spectral_norm_gradient

    weights, normalised, gradients, out = (
        [ones(size, 64, 4, 4, dtype=dtype) for size in (64, 128)] for _ in range(4)
    )
    us, vs = ([ones(size, dtype=dtype) for size in sizes] for sizes in ((64, 128), (1024, 1024)))
    sigmas, vectors = ones(2), ones(64 + 128 + 2 * 1024)
    forward = (normalised, sigmas, vectors, weights, us, vs, [0, 0], 1, 1e-12)
    yield Call("two convolutions", spectral_norm, forward)
    backward = (out, gradients, normalised, sigmas, vectors, [0, 0])
    yield Call("two convolutions", spectral_norm_gradient, backward)
