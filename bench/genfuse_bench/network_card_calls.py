"""Calls that have a kernel card, beside a network's units: attention, linear layers, resampling, spectral norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfuse_bench.compiled import compile_call, compiling_only
from genfuse_kernels.conv_norm_act.settings import Settings

Calls = Iterator[tuple[str, str, Any]]


def resampling_calls(dtype: torch.dtype) -> Calls:
    """Twice the size and half of it, by StyleGAN2's filter of 4 x 4 taps and StyleGAN3's of 12 along each axis."""
    from genfuse_kernels.upfirdn2d import triton_impl

    for layout, memory_format in (
        ("contiguous", torch.contiguous_format),
        ("channels_last", torch.channels_last),
    ):
        x, large = (
            torch.empty(4, 64, size, size, dtype=dtype, memory_format=memory_format) for size in (64, 128)
        )
        for taps, f in (("4 x 4 taps", torch.empty(4, 4)), ("12 taps", torch.empty(12))):
            for case, given, out, factors in (("up", x, large, (2, 1)), ("down", large, x, (1, 2))):
                up, down = ((factor, factor) for factor in factors)
                call = (out, given, f, up, down, (5, 5, 5, 5), False, 4.0)
                yield "upfirdn2d", f"{case}, {taps}, {layout}", compile_call(triton_impl, "upfirdn2d", *call)


def embedding_calls(dtype: torch.dtype) -> Calls:
    from genfuse_kernels.timestep_embedding import triton_impl

    call = (torch.empty(64, 128, dtype=dtype), torch.empty(64, dtype=dtype), True, 0.0, 1.0, 1e4)
    binary = compile_call(triton_impl, "timestep_embedding", *call)
    yield "timestep_embedding", "128 channels", binary


def attention_calls(dtype: torch.dtype) -> Calls:
    """Of 1024 tokens, forwards and backwards, heads from 64 channels to an autoencoder's 512."""
    from genfuse_kernels.attention.spec import triton_limit
    from genfuse_kernels.attention.triton_gradient import attention_gradient
    from genfuse_kernels.attention.triton_impl import attention

    for channels in (64, 128, 256, 512):
        q = torch.empty(2, 1024, 2, channels, dtype=dtype).transpose(1, 2)
        logs = torch.empty(2, 2, 1024)
        with compiling_only() as found:
            if triton_limit(dtype, channels, channels, False) is None:
                attention(q, q, q, q, 0.125, logs=logs)
            if triton_limit(dtype, channels, channels, True) is None:
                attention_gradient((q, q, q), q, q, logs, q, q, q, 0.125)
        for kernel, binary in dict(found).items():
            yield kernel.removesuffix("_kernel"), f"{channels} channels", binary


def linear_calls(dtype: torch.dtype) -> Calls:
    from genfuse_kernels.linear.triton_impl import linear

    x, weight, out = (torch.empty(*size, dtype=dtype) for size in ((2048, 256), (512, 256), (2048, 512)))
    with compiling_only() as found:
        linear(out, x, weight, torch.empty(512), Settings(activation="silu"), out)
    yield "conv_norm_act", "linear, silu, 256 to 512", dict(found)["conv_norm_act_kernel"]


def spectral_calls(dtype: torch.dtype) -> Calls:
    """Of two convolutions of a critic, one step and its gradient."""
    from genfuse_kernels.spectral_norm.triton_impl import spectral_norm, spectral_norm_gradient

    weights: list[Tensor] = [torch.empty(size, 64, 4, 4, dtype=dtype) for size in (64, 128)]
    us, vs = ([torch.empty(size, dtype=dtype) for size in sizes] for sizes in ((64, 128), (1024, 1024)))
    sigmas, vectors = torch.empty(2), torch.empty(64 + 128 + 2 * 1024)
    with compiling_only() as found:
        spectral_norm(weights, sigmas, vectors, weights, us, vs, [0, 0], 1, 1e-12)
        spectral_norm_gradient(weights, weights, weights, sigmas, vectors, [0, 0])
    for kernel, binary in dict(found).items():
        yield f"spectral_norm {kernel.removesuffix('_kernel')}", "two convolutions", binary


WITH_FLOAT64 = (resampling_calls, embedding_calls)
FLOAT32_ARITHMETIC = (attention_calls, linear_calls, spectral_calls)


def network_calls(dtype: torch.dtype) -> Calls:
    """Those of every op that takes the dtype."""
    for calls in WITH_FLOAT64 if dtype == torch.float64 else (*WITH_FLOAT64, *FLOAT32_ARITHMETIC):
        yield from calls(dtype)
