"""The op `conv_norm_act` as its users call it: backends, gradients, torch.compile, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.ops import conv_norm_act, norm_act
from genfuse_kernels.common import packed_weights
from genfuse_kernels.conv_norm_act import reference
from genfuse_kernels.conv_norm_act.settings import Settings

GROUP_SILU: dict[str, Any] = {"padding": 1, "norm": "group", "num_groups": 4, "activation": "silu"}


def tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(s, generator=generator).to(dtype) for s in ((2, 16, 11, 9), (8, 16, 3, 3), (8,)))  # type: ignore[return-value]


def composed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    h = torch.nn.functional.silu(torch.nn.functional.group_norm(x, 4))
    return torch.nn.functional.conv2d(h, weight, bias, padding=1)


def test_it_is_what_pytorch_composes() -> None:
    x, weight, bias = tensors()
    want = composed(x.double(), weight.double(), bias.double())
    for layout in (torch.contiguous_format, torch.channels_last):
        y = conv_norm_act(x.to(memory_format=layout), weight, bias, **GROUP_SILU)
        assert y.is_contiguous(memory_format=layout)
        assert torch.allclose(y.double(), want, atol=2e-4)
    y, stats = conv_norm_act(x, weight, bias, **GROUP_SILU, return_stats=True)
    assert torch.allclose(stats[..., 0].double(), want.mean((2, 3)), atol=1e-5)
    assert torch.allclose(stats[..., 1].double(), want.var((2, 3), correction=0), rtol=1e-4)


def test_padding_may_differ_on_opposite_sides() -> None:
    x, weight, bias = tensors()
    for mode, name in (("zeros", "constant"), ("reflect", "reflect"), ("circular", "circular")):
        for stride in (1, 2):
            sides = (0, 1, 3, 2)
            y = conv_norm_act(x, weight, bias, stride=stride, padding=sides, padding_mode=mode)  # type: ignore[arg-type]
            padded = torch.nn.functional.pad(x.double(), sides, mode=name)
            want = torch.nn.functional.conv2d(padded, weight.double(), bias.double(), stride)
            assert isinstance(y, Tensor) and torch.allclose(y.double(), want, atol=1e-4)
    with pytest.raises(ValueError, match="transposed"):
        conv_norm_act(x, weight.transpose(0, 1), padding=(0, 1, 0, 1), transposed=True)


@pytest.mark.parametrize("kernel", [1, 3])
def test_pooling_averages_pairs_and_drops_the_odd_row(kernel: int) -> None:
    x, _, bias = tensors()
    weight, residual = torch.randn(8, 16, kernel, kernel), torch.randn(2, 8, 11, 9)
    options: dict[str, Any] = {"padding": kernel // 2, "residual": residual, "out_activation": "leaky_relu"}
    y, stats = conv_norm_act(x, weight, bias, pool=2, return_stats=True, **options)
    full = conv_norm_act(x, weight, bias, **options)
    assert isinstance(full, Tensor) and y.shape == (2, 8, 5, 4)
    want = torch.nn.functional.avg_pool2d(full.double(), 2)
    assert torch.allclose(y.double(), want, atol=1e-6)
    assert torch.allclose(stats[..., 0].double(), want.mean((2, 3)), atol=1e-5)
    assert torch.allclose(stats[..., 1].double(), want.var((2, 3), correction=0), rtol=1e-4)


def test_gradients_are_pytorchs() -> None:
    leaves = [t.requires_grad_() for t in tensors(torch.float64)]
    composed(*leaves).square().sum().backward()
    want = [t.grad for t in leaves]
    for t in leaves:
        t.grad = None
    conv_norm_act(*leaves, **GROUP_SILU).square().sum().backward()
    for leaf, grad in zip(leaves, want, strict=True):
        assert grad is not None and torch.allclose(leaf.grad, grad, rtol=1e-10)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_has_one_mask_forwards_and_backwards(dtype: torch.dtype) -> None:
    x, weight, bias = (t.requires_grad_() for t in tensors(dtype))
    options: dict[str, Any] = {
        **GROUP_SILU,
        "dropout": 0.4,
        "dropout_stream": 3,
        "seeds": torch.tensor([7, -9]),
    }
    y = conv_norm_act(x, weight, bias, **options)
    h = torch.nn.functional.silu(torch.nn.functional.group_norm(x, 4))
    mask = reference.dropped(torch.ones_like(h), Settings(dropout=0.4, dropout_stream=3), options["seeds"])
    want = torch.nn.functional.conv2d(h * mask, weight, bias, padding=1)
    assert isinstance(y, Tensor) and torch.allclose(y, want, atol=1e-4 if dtype == torch.float32 else 1e-12)
    leaves = (x, weight, bias)
    theirs = torch.autograd.grad(want.square().sum(), leaves)
    for ours, other in zip(torch.autograd.grad(y.square().sum(), leaves), theirs, strict=True):
        assert torch.allclose(ours, other, rtol=1e-3 if dtype == torch.float32 else 1e-10, atol=1e-4)
    with torch.no_grad():
        assert torch.allclose(conv_norm_act(x, weight, bias, **options), want, atol=1e-3)


def test_gradients_of_dropout_and_projection_are_those_of_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 3, 4, 3), (2, 3, 3, 3), (2, 4, 4, 3), (2, 6, 1, 1), (2, 2, 4, 3))
    leaves = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]

    def f(x: Tensor, weight: Tensor, residual: Tensor, residual_weight: Tensor, skip: Tensor) -> Tensor:
        y = conv_norm_act(
            x, weight, padding=1, activation="tanh", dropout=0.5, seeds=torch.tensor([1, 2]),
            residual=residual, residual_weight=residual_weight, residual_skip=skip,
        )  # fmt: skip
        assert isinstance(y, Tensor)
        return y

    assert torch.autograd.gradcheck(f, leaves)
    assert torch.autograd.gradgradcheck(f, leaves)


def test_masks_depend_on_seed_stream_and_place_alone() -> None:
    x, weight = torch.ones(3, 12, 5, 6), torch.eye(12)[:, :, None, None]
    seeds = torch.tensor([11, 12, 11])

    def mask(images: Tensor, of: Tensor, stream: int = 0) -> Tensor:
        y = conv_norm_act(images, weight, dropout=0.5, dropout_stream=stream, seeds=of)
        assert isinstance(y, Tensor)
        return y

    whole = mask(x, seeds)
    assert torch.equal(whole[0], whole[2]) and not torch.equal(whole[0], whole[1])
    assert torch.equal(mask(x[1:2], seeds[1:2]), whole[1:2])
    assert torch.equal(mask(x.to(memory_format=torch.channels_last), seeds), whole)
    assert not torch.equal(mask(x, seeds, stream=1), whole)
    for name in ("aten", "reference"):
        with genfuse.backend(name):  # type: ignore[arg-type]
            assert torch.equal(mask(x, seeds), whole)
    skip = conv_norm_act(x[:, :5], weight, skip=x[:, 5:], dropout=0.5, seeds=seeds)
    assert isinstance(skip, Tensor) and torch.equal(skip, whole)
    assert torch.equal(norm_act(x, dropout=0.5, seeds=seeds), whole)  # type: ignore[arg-type]
    assert torch.equal(conv_norm_act(x, weight, seeds=seeds), x)  # type: ignore[arg-type]


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_a_projected_residual_is_a_1x1_convolution(accuracy: Any) -> None:
    x, weight, bias = tensors()
    residual, other = torch.randn(2, 5, 11, 9), torch.randn(2, 20, 11, 9)
    projection = torch.randn(8, 25, 1, 1)
    options: dict[str, Any] = {"padding": 1, "accuracy": accuracy, "out_activation": "relu"}
    own = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    joined = torch.cat([residual, other], 1)
    want = torch.relu(own + torch.nn.functional.conv2d(joined.double(), projection.double()))
    for layout in (torch.contiguous_format, torch.channels_last):
        whole = {"residual": joined.to(memory_format=layout), "residual_weight": projection}
        y, stats = conv_norm_act(x, weight, bias, **options, **whole, return_stats=True)
        assert torch.allclose(y.double(), want, atol=2e-4)
        assert torch.allclose(stats[..., 0].double(), want.mean((2, 3)), atol=1e-4)
        parts = {"residual": residual, "residual_skip": other, "residual_weight": projection}
        assert torch.equal(conv_norm_act(x, weight, bias, **options, **parts), y)  # type: ignore[arg-type]
    pooled = conv_norm_act(x, weight, bias, **options, **parts, pool=2)
    assert isinstance(pooled, Tensor)
    assert torch.allclose(pooled.double(), torch.nn.functional.avg_pool2d(want, 2), atol=2e-4)


def test_backends() -> None:
    x, weight, bias = tensors()
    choice = genfuse.explain("conv_norm_act", x, weight, bias)
    assert choice.backend == "cpu"
    weight.requires_grad_()
    assert genfuse.explain("conv_norm_act", x, weight, bias).backend == "cpu"
    assert genfuse.explain("conv_norm_act", x.double()).backend == "aten"
    assert (
        "kernel winograd, of float32 factors" in genfuse.explain("conv_norm_act", x, weight, padding=1).reason
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert "kernel " in genfuse.explain("conv_norm_act", x, weight, padding=1, stride=(1, 2)).reason
    depthwise = torch.randn(16, 1, 3, 3, requires_grad=True)
    choice = genfuse.explain("conv_norm_act", x, depthwise, groups=16)
    assert choice.backend == "aten" and "no weight gradient" in choice.passed_over["cpu"]
    with torch.no_grad():
        assert genfuse.explain("conv_norm_act", x, depthwise, groups=16).backend == "cpu"
    for strictly in (genfuse.backend(strict=True), genfuse.backend("cpu")):
        with strictly, pytest.raises(UnsupportedError, match="no weight gradient"):
            conv_norm_act(x, depthwise, groups=16)
    want = conv_norm_act(x, weight.detach(), bias, **GROUP_SILU)
    for name in ("aten", "reference"):
        with genfuse.backend(name), torch.no_grad():  # type: ignore[arg-type]
            assert torch.allclose(conv_norm_act(x, weight, bias, **GROUP_SILU), want, atol=2e-4)


@pytest.mark.parametrize("gradients", [False, True])
def test_opcheck(gradients: bool) -> None:
    x, weight, bias = tensors()
    settings = Settings(padding=(1, 1), norm="group", num_groups=4, activation="silu")
    settings = settings._replace(dropout=0.3, dropout_stream=5)
    residual = (
        torch.randn(2, 5, 11, 9),
        torch.randn(8, 7, 1, 1).requires_grad_(gradients),
        torch.randn(2, 2, 11, 9),
    )
    seeds = torch.tensor([1, 2])
    arguments = (x, weight.requires_grad_(gradients), bias, *(None,) * 9, *residual, seeds, *settings, True)
    torch.library.opcheck(torch.ops.genfuse.conv_norm_act.default, arguments)


@pytest.mark.parametrize("norm", ["none", "group"])
def test_parameters_in_float32_beside_half_precision(norm: Any) -> None:
    """The result has x's dtype on every backend, and with gradients."""
    x, weight, bias = tensors()
    options = {**GROUP_SILU, "norm": norm, "norm_weight": torch.ones(16) if norm == "group" else None}
    half = x.to(torch.bfloat16)
    want = conv_norm_act(half.float(), weight, bias, **options)
    for name in ("cpu", "aten", "reference"):
        with genfuse.backend(name), torch.no_grad():  # type: ignore[arg-type]
            y = conv_norm_act(half, weight, bias, **options)
        assert y.dtype == half.dtype and torch.allclose(y.float(), want, atol=0.2, rtol=0.02)
    y = conv_norm_act(half, weight.requires_grad_(), bias, **options)
    assert y.dtype == half.dtype and torch.allclose(y.float(), want, atol=0.2, rtol=0.02)
    y.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_compiles_without_a_break() -> None:
    x, weight, bias = tensors()
    compiled = torch.compile(lambda *t: conv_norm_act(*t, **GROUP_SILU), fullgraph=True)
    assert torch.equal(compiled(x, weight, bias), conv_norm_act(x, weight, bias, **GROUP_SILU))
    weight.requires_grad_()
    compiled(x, weight, bias).sum().backward()
    assert weight.grad is not None and weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"norm": "grup"}, ValueError, "did you mean 'group'"),
        ({"activation": "swish"}, ValueError, "activation is 'swish'"),
        ({"padding": -1}, ValueError, "padding is"),
        ({"padding": 1.5}, TypeError, "padding is 1.5"),
        ({"padding": (0, 1, 0, -1)}, ValueError, "padding is"),
        ({"padding": (0, 1, 0, 0.5)}, TypeError, "four ints"),
        ({"padding": (1, 9, 1, 1), "padding_mode": "reflect"}, ValueError, "less than the 9 pixels"),
        ({"stride": 0}, ValueError, "stride is"),
        ({"groups": 3}, ValueError, "groups=3"),
        ({"norm": "group", "num_groups": 5}, ValueError, "num_groups is 5"),
        ({"eps": math.inf}, ValueError, "eps is inf"),
        ({"eps": math.nan}, ValueError, "eps is nan"),
        ({"norm": "batch", "running_mean": torch.zeros(16)}, ValueError, "both or neither"),
        ({"running_mean": torch.zeros(16), "running_var": torch.ones(16)}, ValueError, "norm='batch'"),
        ({"shift": torch.zeros(2, 9)}, ValueError, "shift has shape"),
        ({"shift": torch.zeros(2, 8).double()}, TypeError, "shift has dtype"),
        ({"residual": torch.zeros(2, 8, 11, 9)}, ValueError, "residual has shape"),
        ({"residual": torch.zeros(2, 8, 9, 7).half()}, TypeError, "residual has dtype"),
        ({"skip": torch.zeros(2, 4, 11, 8)}, ValueError, "skip has shape"),
        ({"norm_weight": torch.ones(15)}, ValueError, "norm_weight has shape"),
        ({"film_scale": torch.ones(2, 16)}, ValueError, "film_shift"),
        ({"stats": torch.ones(2, 16, 2)}, ValueError, "stats is given"),
        (
            {"padding": 9, "padding_mode": "reflect"},
            ValueError,
            "less than the 11 pixels|less than the 9 pixels",
        ),
        ({"dilation": 6}, ValueError, "too few for a kernel"),
        ({"output_padding": 1}, ValueError, "output_padding"),
        ({"pool": 3}, ValueError, r"pool is \(3, 3\)"),
        ({"pool": 2, "stride": 9}, ValueError, "before it is pooled"),
        ({"upsample": 3}, ValueError, r"upsample is \(3, 3\)"),
        ({"accuracy": "sloppy"}, ValueError, "accuracy is 'sloppy'"),
        ({"dropout": 1.0, "seeds": torch.zeros(2, dtype=torch.int64)}, ValueError, "dropout is 1.0"),
        ({"dropout": math.nan}, ValueError, "dropout is nan"),
        ({"dropout": "0.1"}, TypeError, "dropout is '0.1'"),
        ({"dropout": 0.1}, ValueError, "expected seeds beside it"),
        ({"dropout": 0.1, "seeds": torch.zeros(2)}, TypeError, "seeds has dtype"),
        ({"dropout": 0.1, "seeds": torch.zeros(3, dtype=torch.int64)}, ValueError, "seeds has shape"),
        ({"dropout_stream": 2**32}, ValueError, "dropout_stream is"),
        ({"groups": 1.0}, TypeError, "groups is 1.0, expected a whole number"),
        ({"norm": "group", "num_groups": 2.0}, TypeError, "num_groups is 2.0, expected a whole number"),
        ({"scale": "a"}, TypeError, "scale is 'a', expected a number"),
        ({"scale": torch.ones(())}, TypeError, r"scale is tensor\(1.\), expected a number"),
        ({"negative_slope": None}, TypeError, "negative_slope is None, expected a number"),
        ({"eps": "a"}, TypeError, "eps is 'a', expected a number"),
        ({"stride": 2**40}, ValueError, "stride is .*expected at most 1073741824"),
        ({"padding": 2**40}, ValueError, "padding is .*expected at most 1073741824"),
        ({"dropout_stream": 1.0}, TypeError, "dropout_stream is"),
        ({"residual_weight": torch.zeros(8, 4, 1, 1)}, ValueError, "without residual"),
        ({"residual_skip": torch.zeros(2, 8, 9, 7)}, ValueError, "without residual_weight"),
        (
            {"residual": torch.zeros(2, 4, 9, 7), "residual_weight": torch.zeros(8, 5, 1, 1)},
            ValueError,
            r"residual_weight has shape \(8, 5, 1, 1\), expected \(8, 4, 1, 1\)",
        ),
        (
            {"residual": torch.zeros(2, 4, 9, 8), "residual_weight": torch.zeros(8, 4, 1, 1)},
            ValueError,
            "residual has shape",
        ),
        (
            {"residual": torch.zeros(2, 4, 9, 7), "residual_weight": torch.zeros(8, 4, 1)},
            ValueError,
            "residual_weight has shape",
        ),
        ({"residual": torch.zeros(2, 4, 9, 7), "residual_weight": 1}, TypeError, "residual_weight is int"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        conv_norm_act(*tensors(), **options)


def test_bad_tensors() -> None:
    x, weight, bias = tensors()
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\) or \(N, C, L\)"):
        conv_norm_act(x[0, 0], weight)
    with pytest.raises(ValueError, match=r"weight has shape .*expected \(K, C/groups, length\)"):
        conv_norm_act(x[0], weight)
    with pytest.raises(ValueError, match=r"residual has shape .*expected \(N, C, L\)"):
        conv_norm_act(x[0], weight[..., 0], residual=x)
    with pytest.raises(TypeError, match=r"stride is \(1, 1\), expected an int or \(length,\)"):
        conv_norm_act(x[0], weight[..., 0], stride=(1, 1))
    with pytest.raises(ValueError, match="weight has shape"):
        conv_norm_act(x, weight[:, :5])
    with pytest.raises(TypeError, match="weight is"):
        conv_norm_act(x, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x has dtype"):
        conv_norm_act(x.int(), weight)
    with pytest.raises(ValueError, match="weight is on meta"):
        conv_norm_act(x, weight.to("meta"), bias)


def test_gradients_of_a_norm_whose_input_has_none() -> None:
    """On channels-last memory PyTorch's own backward of group norm crashes there (2.13)."""
    x, weight, bias = tensors()
    scale = torch.ones(16, requires_grad=True)
    y = conv_norm_act(x.to(memory_format=torch.channels_last), weight, bias, **GROUP_SILU, norm_weight=scale)
    (ours,) = torch.autograd.grad(y.square().sum(), scale)  # type: ignore[union-attr]
    y = conv_norm_act(x, weight, bias, **GROUP_SILU, norm_weight=scale)
    (theirs,) = torch.autograd.grad(y.square().sum(), scale)  # type: ignore[union-attr]
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_an_empty_batch_has_an_empty_result() -> None:
    x, residual = torch.zeros(0, 5, 6, 6), torch.zeros(0, 7, 4, 4)
    y = conv_norm_act(x, torch.zeros(4, 8, 3, 3), skip=torch.zeros(0, 3, 6, 6), norm="batch")
    assert isinstance(y, Tensor) and y.shape == (0, 4, 4, 4)
    weight, projection = torch.zeros(4, 5, 3, 3), torch.zeros(4, 7, 1, 1)
    y, stats = conv_norm_act(
        x, weight, residual=residual, residual_weight=projection, return_stats=True, norm="instance"
    )
    assert y.shape == (0, 4, 4, 4) and stats.shape == (0, 4, 2)
    assert norm_act(x, norm="instance", residual=x).shape == x.shape  # type: ignore[union-attr]


def test_what_is_too_large_for_the_kernels_is_pytorchs() -> None:
    x, weight = torch.randn(1, 1, 70, 70), torch.randn(1, 1, 65, 65)
    y = conv_norm_act(x, weight)
    assert isinstance(y, Tensor)
    assert torch.allclose(y, torch.nn.functional.conv2d(x, weight), atol=1e-2, rtol=1e-4)
    far = conv_norm_act(x[..., :6, :6], weight[..., :3, :3], dilation=2**29, padding=2**29)
    assert isinstance(far, Tensor) and torch.allclose(far, x[..., :6, :6] * weight[..., 1, 1], atol=1e-5)
    too_large = "the kernel has 65 x 65 weights, expected at most 4096"
    for explained in (
        genfuse.explain("conv_norm_act", x, weight),
        genfuse.explain("conv_norm_act", x, weight=weight, padding=(1, 2, 3, 4)),
    ):
        assert explained.backend == "aten" and explained.passed_over["cpu"] == too_large
    for padding, backend in ((2**16, "cpu"), ((0, 2**16 + 1), "aten"), ((0, 0, 2, 2**17), "aten")):
        explained = genfuse.explain("conv_norm_act", x, weight[..., :3, :3], padding=padding)
        assert explained.backend == backend
    with (
        genfuse.backend(strict=True),
        pytest.raises(UnsupportedError, match="65 x 65 weights, expected at most"),
    ):
        conv_norm_act(x, weight)
    with genfuse.backend("cpu"), pytest.raises(UnsupportedError, match="65 x 65 weights"):
        conv_norm_act(x, weight)
    optimized: Any = genfuse.optimize(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 65)))
    with torch.no_grad():
        assert optimized(x).shape == (1, 1, 6, 6)
    assert "65 x 65 weights" in optimized.report().left[0].reason


def test_weights_are_packed_once_whatever_a_loop_changes() -> None:
    x, weight = torch.randn(1, 16, 8, 8), torch.randn(16, 16, 3, 3)
    conv_norm_act(x, weight, padding=1)
    before = packed_weights.packed_bytes()
    for i in range(5):
        scale = 1 + i / 10
        y = conv_norm_act(
            x, weight, padding=1, scale=scale, eps=0.1 * i, negative_slope=0.1 * i, activation="leaky_relu"
        )
        h = torch.nn.functional.leaky_relu(x, 0.1 * i)
        want = torch.nn.functional.conv2d(h, weight, padding=1) * scale
        assert isinstance(y, Tensor) and torch.allclose(y, want, atol=1e-3)
    assert packed_weights.packed_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 50}, r"padding is \(50, 50\), too large for 4 x 4 pixels, transposed"),
        ({"stride": 2**29}, r"output would have shape \(1, 2, .*stride is"),
    ],
)
def test_transposed_outputs_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv_norm_act(torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3), transposed=True, **options)
