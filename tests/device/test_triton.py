"""Triton's kernels on a GPU, by the cases that its interpreter passes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cuda_proof.device import on_device
from genfuse_kernels.attention import spec as attention_spec
from genfuse_kernels.conv_norm_act.settings import NORMS
from genfuse_kernels.timestep_embedding import reference as embedding
from genfuse_kernels.timestep_embedding import spec as embedding_spec
from ops import attention_cases, linear_cases, spectral_norm_cases, upfirdn2d_cases
from ops.conv_cases import IMAGE_LAYOUTS
from ops.cpu_cases import DTYPES as ALL_DTYPES
from ops.cpu_cases import LAYOUTS
from ops.cuda_conv_cases import DTYPES, check, random_unit
from ops.norm_cases import check_call, check_stats, long_row, random_call, random_image
from ops.philox_contract import PhiloxContract
from ops.reduce_contract import ReduceContract
from ops.step_contract import StepContract

pytestmark = pytest.mark.device("triton")


def triton(op: str) -> Callable[..., None]:
    """The launcher, which is imported where it runs alone: Triton need not be here."""

    def run(*arguments: Any, **named: Any) -> None:
        module = __import__(f"genfuse_kernels.{op}.triton_impl", fromlist=[op])
        on_device(getattr(module, op))(*arguments, **named)

    return run


class TestSamplerStep(StepContract):
    kernel = staticmethod(triton("sampler_step"))


class TestSamplerReduce(ReduceContract):
    kernel = staticmethod(triton("sampler_reduce"))


class TestPhiloxNormal(PhiloxContract):
    kernel = staticmethod(triton("philox_normal"))


@pytest.mark.parametrize("seed", range(60))
def test_statistics(seed: int) -> None:
    check_stats(triton("norm_stats"), random_image(seed))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("first", [0.0, 1000.0])
def test_statistics_of_a_long_row(first: float, channels_last: bool) -> None:
    check_stats(triton("norm_stats"), long_row(first, channels_last, 2**20 + 4))


@pytest.mark.parametrize("seed", range(126))
def test_norms(seed: int) -> None:
    check_call(triton("norm_act"), *random_call(seed))


@pytest.mark.parametrize("seed", range(240))
def test_units(seed: int) -> None:
    case = random_unit(np.random.default_rng([61, seed]), DTYPES[seed % 3])
    check(triton("conv_norm_act"), case, IMAGE_LAYOUTS[seed // 3 % len(IMAGE_LAYOUTS)])


@pytest.mark.parametrize("seed", range(18))
def test_every_configuration_of_a_unit(seed: int) -> None:
    from genfuse_kernels.conv_norm_act.triton_plan import WAYS

    kernel, ways = triton("conv_norm_act"), list(WAYS.values())
    case = random_unit(np.random.default_rng([67, seed]), DTYPES[seed % 3])
    check(lambda *arguments, **named: kernel(*arguments, way=ways[seed // 3], **named), case)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_training_follows_float64(norm: str, dtype: torch.dtype) -> None:
    """The op's gradients on the device, no further from float64 than twice PyTorch's own in this dtype."""
    import genfuse

    torch.manual_seed(3)
    x, weight, bias = torch.randn(3, 32, 9, 11), torch.randn(48, 32, 3, 3) / 17, torch.randn(48)
    gradient = torch.randn(3, 48, 9, 11)
    options: dict[str, Any] = {"padding": 1, "norm": norm, "activation": "silu", "accuracy": "exact"}
    if norm == "group":
        options["num_groups"] = 8
    if norm == "batch":
        options |= {"running_mean": torch.randn(32), "running_var": torch.rand(32) + 0.5}

    def gradients(dtype: torch.dtype, backend: Any) -> list[torch.Tensor]:
        inputs = [t.cuda().to(dtype).requires_grad_() for t in (x, weight, bias)]
        given = {k: v.cuda().to(dtype) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        with genfuse.backend(backend):
            y = genfuse.ops.conv_norm_act(*inputs, **given)
        y.backward(gradient.cuda().to(dtype))
        return [t.grad.double() for t in inputs]

    want = gradients(torch.float64, "aten")
    for ours, theirs, exact in zip(gradients(dtype, "triton"), gradients(dtype, "aten"), want, strict=True):
        scale = exact.abs().max()
        eps = torch.finfo(dtype).eps
        assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max() + 4 * eps * scale


class TestUpfirdn2d:
    @staticmethod
    def on_gpu(x: torch.Tensor, f: torch.Tensor, **options: Any) -> torch.Tensor:
        import genfuse

        with genfuse.backend("triton"):
            return genfuse.ops.upfirdn2d(x.cuda(), f.cuda(), **options).cpu()

    @pytest.mark.parametrize("dtype", ALL_DTYPES)
    @pytest.mark.parametrize("seed", range(40))
    def test_generated(self, dtype: torch.dtype, seed: int) -> None:
        upfirdn2d_cases.hold(self.on_gpu, np.random.default_rng([71, seed]), dtype, LAYOUTS[seed % 5])


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_spectral_norm(dtype: torch.dtype, steps: int) -> None:
    spectral_norm_cases.hold(triton("spectral_norm"), spectral_norm_cases.Layers(steps, dtype), steps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_spectral_norm(dtype: torch.dtype) -> None:
    kernels = importlib.import_module("genfuse_kernels.spectral_norm.triton_impl")
    on_gpu = SimpleNamespace(
        spectral_norm=on_device(kernels.spectral_norm),
        spectral_norm_gradient=on_device(kernels.spectral_norm_gradient),
    )
    spectral_norm_cases.hold_gradient(on_gpu, spectral_norm_cases.Layers(11, dtype))


@pytest.mark.parametrize("seed", range(60))
def test_attention(seed: int) -> None:
    dtype = DTYPES[seed % 3]
    case = attention_cases.random_case(np.random.default_rng([81, seed]), dtype)
    attention_cases.check(triton("attention"), case, attention_cases.product_of(dtype))
    attention_cases.hold_gradients(case, "cuda")


@pytest.mark.parametrize("channels", [64, 128, 256, 512])
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_of_every_plan(dtype: torch.dtype, channels: int) -> None:
    q, k, v = (torch.randn(2, 1, 200, channels).to(dtype) for _ in range(3))
    case = attention_cases.Case(q, k, v, channels**-0.5)
    if attention_spec.triton_limit(dtype, channels, channels, False) is None:
        attention_cases.check(triton("attention"), case, attention_cases.product_of(dtype))
    if attention_spec.triton_limit(dtype, channels, channels, True) is None:
        attention_cases.hold_gradients(case, "cuda")


@pytest.mark.parametrize("seed", range(48))
def test_linear(seed: int) -> None:
    dtype = DTYPES[seed % 3]
    product = "tf32x3" if dtype == torch.float32 else dtype
    linear_cases.check(triton("linear"), np.random.default_rng([9, seed]), dtype, product)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_linear(dtype: torch.dtype) -> None:
    linear_cases.hold_gradients(dtype, "cuda")


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_timestep_embedding(dtype: torch.dtype) -> None:
    t = torch.tensor([0.0, -0.5, 1.0, 250.25, 999.0, -6e4]).to(dtype)
    out = torch.full((6, 129), torch.nan, dtype=dtype)
    triton("timestep_embedding")(out, t, True, 0.5, 2.0, 1e4)
    want = embedding.timestep_embedding(t.double(), 129, True, 0.5, 2.0, 1e4)
    allowed = embedding_spec.tolerance(dtype, 2 * float(t.double().abs().max()))
    assert ((out.double() - want).abs() <= allowed).all()
