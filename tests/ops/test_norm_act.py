"""`norm_act` against the float64 reference, on every instruction set, and as its users call it."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import genfuse
from genfuse.ops import norm_act
from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from genfuse_kernels.norm_act import cpu_impl, reference, spec
from ops.cpu_cases import ISAS, LAYOUTS, instruction_set, laid_out, threads, untouched_elsewhere


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(24))
def test_random_cases(isa: str, seed: int) -> None:
    rng = np.random.default_rng([6, seed])
    dtype = spec.DTYPES[seed % 3]
    n, c, h, w = (
        int(v) for v in (rng.integers(1, 4), rng.integers(1, 40), rng.integers(1, 20), rng.integers(1, 20))
    )
    settings = Settings(
        norm=NORMS[seed % len(NORMS)],
        num_groups=int(rng.choice([g for g in range(1, c + 1) if c % g == 0])),
        eps=1e-3,
        activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        scale=float(rng.choice([1.0, 0.5])),
        out_activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        dropout=0.3 if rng.random() < 0.4 else 0.0,
        dropout_stream=seed,
        pool=((2, 2), (1, 2), (2, 1))[rng.integers(3)] if min(h, w) > 1 and rng.random() < 0.4 else (1, 1),
    )

    def image() -> torch.Tensor:
        values = torch.from_numpy(rng.standard_normal((n, c, h, w)) + 0.5).to(dtype)
        return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])

    def maybe(*shape: int) -> torch.Tensor | None:
        return torch.from_numpy(rng.standard_normal(shape)).to(dtype) if rng.random() < 0.6 else None

    tensors = {"norm_weight": maybe(c), "norm_bias": maybe(n, c), "residual": image() if seed % 2 else None}
    seeds = torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, n))
    x = image()
    wide = {name: None if t is None else t.double() for name, t in tensors.items()} | {"seeds": seeds}
    want = reference.norm_act(x.double(), settings, **wide)
    out = laid_out(
        torch.full(want.shape, math.nan, dtype=dtype), ("contiguous", "channels_last")[seed // 2 % 2]
    )
    stats = torch.full((n, c, 2), math.nan)
    with instruction_set(isa):
        cpu_impl.norm_act(out, stats, x, settings, **tensors, seeds=seeds)
    assert untouched_elsewhere(out)
    # the normalised value comes from x·scale + offset, which may cancel
    inner = reference.norm_act(x.double().abs() + 1, Settings(norm="none"), **wide | {"residual": None}).abs()
    deviation = 1.0 if settings.norm == "none" else float(1e-3**-0.5)
    size = (
        reference.norm_act(x.double(), settings._replace(pool=(1, 1)), **wide).abs()
        + deviation * (inner + x.double().abs() + 2)
        + (0 if tensors["residual"] is None else wide["residual"].abs())
    )  # type: ignore[union-attr]
    size = torch.nn.functional.avg_pool2d(size, settings.pool)
    store = 0.0 if dtype == torch.float32 else spec.tolerance(dtype, 1)
    assert ((out.double() - want).abs() <= spec.tolerance(torch.float32, c) * size + store * want.abs()).all()
    expected = channel_stats(want)
    assert torch.allclose(stats.double(), expected, rtol=1e-3, atol=1e-3)


def test_bits_do_not_depend_on_threads() -> None:
    x = torch.randn(3, 24, 33, 17)
    with threads(1):
        one = norm_act(x, norm="group", num_groups=3, activation="silu")
    with threads(2):
        assert torch.equal(norm_act(x, norm="group", num_groups=3, activation="silu"), one)
    assert torch.equal(norm_act(x[1:2], norm="group", num_groups=3, activation="silu"), one[1:2])  # type: ignore[index]


def test_gradients_compile_and_backends() -> None:
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    weight = torch.randn(8, requires_grad=True)
    y = norm_act(x, norm="group", num_groups=2, norm_weight=weight, activation="silu")
    want = torch.nn.functional.silu(torch.nn.functional.group_norm(x, 2, weight))
    assert isinstance(y, torch.Tensor) and torch.allclose(y, want, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(y.sum(), (x, weight)), torch.autograd.grad(want.sum(), (x, weight)), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert genfuse.explain("norm_act", x).backend == "cpu"
    assert genfuse.explain("norm_act", x.detach()).backend == "cpu"
    compiled = torch.compile(lambda t: norm_act(t, norm="instance", activation="relu"), fullgraph=True)
    assert torch.equal(compiled(x.detach()), norm_act(x.detach(), norm="instance", activation="relu"))
    no, seeds = (None,) * 8, torch.tensor([1, 2])
    arguments = (x.detach(), *no, seeds, "instance", 1, 1e-5, "relu", 0.01, 0.5, 3, 1.0, "none", (1, 1), True)
    torch.library.opcheck(torch.ops.genfuse.norm_act.default, arguments)


def test_bad_arguments() -> None:
    x = torch.randn(2, 6, 4, 4)
    for options, words in (
        ({"norm": "group", "num_groups": 4}, "num_groups is 4"),
        ({"residual": torch.ones(2, 6, 4, 5)}, "residual has shape"),
        ({"norm_weight": torch.ones(5)}, "norm_weight has shape"),
        ({"pool": 4}, r"pool is \(4, 4\)"),
        ({"dropout": 0.5}, "expected seeds beside it"),
        ({"dropout": -0.5}, "dropout is -0.5"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
    ):
        with pytest.raises(ValueError, match=words):
            norm_act(x, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x has shape"):
        norm_act(x[0, 0])
    assert isinstance(norm_act(x[:0]), torch.Tensor)


@pytest.mark.parametrize("norm", ["group", "instance", "layer"])
def test_squares_beyond_float32_are_not_handed_on_as_zeros(norm: str) -> None:
    x = torch.randn(1, 4, 8, 8) * 1e30
    assert not norm_act(x, norm=norm, num_groups=1).isfinite().any()  # as torch.nn.functional.group_norm


def check_gradients(seed: int, backend: Any) -> None:
    """A random call's by this backend's kernels, of both orders, against PyTorch's in float64."""
    rng = np.random.default_rng([41, seed])
    batch, channels, height, width = (
        int(rng.integers(low, high)) for low, high in ((1, 4), (1, 5), (2, 9), (2, 9))
    )
    channels *= 4
    norm, pool = NORMS[seed % len(NORMS)], int(rng.integers(1, 3))

    def maybe(*shape: int) -> torch.Tensor | None:
        return torch.from_numpy(rng.standard_normal(shape)).float() if rng.integers(2) else None

    names: dict[str, torch.Tensor | None] = {
        "norm_weight": maybe(channels),
        "norm_bias": maybe(batch, channels),
        "film_scale": maybe(batch, channels),
        "film_shift": None,
        "residual": maybe(batch, channels, height, width),
    }
    names["film_shift"] = None if names["film_scale"] is None else torch.randn(batch, channels)
    x = torch.from_numpy(rng.standard_normal((batch, channels, height, width))).float()
    if rng.integers(2):
        x = x.contiguous(memory_format=torch.channels_last)
    options: Any = {
        "norm": norm,
        "num_groups": 4,
        "activation": ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        "negative_slope": 0.2,
        "scale": float(rng.choice([1.0, 0.5])),
        "out_activation": ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        "pool": pool,
    }
    found: dict[torch.dtype, Any] = {}
    for dtype in (torch.float32, torch.float64):
        leaves = {
            name: t.to(dtype).requires_grad_() for name, t in {"x": x, **names}.items() if t is not None
        }
        with genfuse.backend(backend if dtype == torch.float32 else "aten"):
            y = norm_act(**leaves, **options)
        assert pool == 2 or ("_Pass" in str(y.grad_fn)) == (dtype == torch.float32)  # type: ignore[union-attr]
        weight = torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape)  # type: ignore[union-attr]
        loss = (y * weight).sum()  # type: ignore[operator]
        first = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
        (of_x,) = torch.autograd.grad(loss, leaves["x"], create_graph=True)
        second = torch.autograd.grad(of_x.square().sum(), list(leaves.values()), allow_unused=True)
        found[dtype] = (*first, *(g for g in second if g is not None))
    assert len(found[torch.float32]) == len(found[torch.float64])
    for mine, want in zip(*found.values(), strict=True):
        assert (mine - want).abs().max() <= 1e-4 * (want.abs().max() + 1e-2), options


@pytest.mark.parametrize("seed", range(40))
def test_gradients_of_random_calls(seed: int) -> None:
    check_gradients(seed, "cpu")


def test_training_promises_bits_and_keeps_one_image() -> None:
    """A thread's share ends off a vector's boundary here."""
    x = torch.randn(5, 72, 11, 10)
    runs = []
    for count in (1, 2, 3):
        with threads(count):
            leaf = x.clone().requires_grad_()
            kept: dict[int, int] = {}

            def pack(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
                kept[tensor.untyped_storage().data_ptr()] = tensor.nbytes
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                y: Any = norm_act(leaf, norm="group", num_groups=4, activation="silu")
            assert sum(kept.values()) < 1.1 * x.nbytes
            y = norm_act(y, out_activation="sigmoid")
            runs.append((y, *torch.autograd.grad(y.square().sum(), leaf)))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


CHANNELS_LAST = """
import sys, torch, genfuse
from genfuse.ops import norm_act
failed = []
for dtype, groups, affine, asked in (
    (dtype, groups, affine, asked)
    for dtype in (torch.float64, torch.float32)
    for groups in (2, 8)
    for affine in ("norm_weight", "norm_bias", "norm_weight norm_bias")
    for asked in ("x", "weights", "weights of a frozen image")
):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 6, 6, dtype=dtype)
    v = torch.randn(2, 8, 6, 6, dtype=dtype).to(memory_format=torch.channels_last)
    named = {name: torch.randn(8, dtype=dtype, requires_grad=True) for name in affine.split()}
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        leaf = x.to(memory_format=form).requires_grad_("frozen" not in asked)
        with genfuse.backend("aten"):
            y = norm_act(leaf, norm="group", num_groups=groups, **named)
        of = [leaf] if asked == "x" else list(named.values())
        found.append(torch.autograd.grad(y, of, v))
    for a, b in zip(*found):
        if not torch.allclose(a, b, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12):
            failed.append((dtype, groups, affine, asked))
sys.exit(str(failed) if failed else 0)
"""


def test_pytorch_s_group_norm_of_channels_last_memory_gives_every_gradient() -> None:
    """Where PyTorch's own backward ends the process (2.13), if the weight's gradient is asked for and x's is not."""
    run = subprocess.run([sys.executable, "-c", CHANNELS_LAST], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
