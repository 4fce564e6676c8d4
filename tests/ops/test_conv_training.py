"""`conv_norm_act` in training: its gradients against float64, what it keeps, second order, and threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import conv_norm_act
from genfuse.ops.conv_norm_act import unit
from genfuse.ops.norm_stats import norm_stats
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS
from ops.conv_cases import Case, random_case
from ops.cpu_cases import threads

CLOSE = 1e-4
"""Of the largest gradient: the kernels' own tests hold them to their bounds."""


def leaves_of(case: Case, dtype: torch.dtype) -> dict[str, Tensor | None]:
    def leaf(name: str, tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not tensor.is_floating_point():
            return tensor
        made = tensor.detach().clone(memory_format=torch.preserve_format).to(dtype)
        return made if name.startswith("running") else made.requires_grad_()

    given = {"x": case.x, "weight": case.weight, "bias": case.bias, **case.tensors}
    return {name: leaf(name, tensor) for name, tensor in given.items()}


def gradients(
    case: Case, leaves: dict[str, Any], gradient: Tensor | None = None, of_stats: Tensor | None = None
) -> dict[str, Tensor]:
    tensors: Any = {name: leaves[name] for name in case.tensors}
    y, stats = unit(
        leaves["x"], leaves["weight"], leaves["bias"], case.settings, tensors, of_stats is not None
    )
    names = [name for name, leaf in leaves.items() if leaf is not None and leaf.requires_grad]
    outputs, given = [y], [gradient if gradient is None else gradient.to(y.dtype)]
    if of_stats is not None:
        outputs, given = [y, stats], [*given, of_stats.to(stats.dtype)]
    found = torch.autograd.grad(outputs, [leaves[name] for name in names], given, allow_unused=True)
    return {name: grad for name, grad in zip(names, found, strict=True) if grad is not None}


def close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float = CLOSE) -> None:
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].shape == expected.shape
        # A norm over a single value has none but rounding.
        error, size = (got[name] - expected).abs().max(), expected.abs().max()
        assert error <= tolerance * size + 1e-4, f"{name}: {float(error / size):.1e} of the largest"


@pytest.mark.parametrize("seed", range(60))
def test_every_input_has_its_gradient(seed: int) -> None:
    rng = np.random.default_rng([41, seed])
    case = random_case(rng, torch.float32)
    wide = leaves_of(case, torch.float64)
    tensors: Any = {name: wide[name] for name in case.tensors}
    y, stats = unit(wide["x"], wide["weight"], wide["bias"], case.settings, tensors, True)  # type: ignore[arg-type]
    gradient = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    of_stats = torch.from_numpy(rng.standard_normal(tuple(stats.shape))) if seed % 3 == 0 else None
    want = gradients(case, wide, gradient, of_stats)
    close(gradients(case, leaves_of(case, torch.float32), gradient, of_stats), want)


def test_sequences() -> None:
    """(N, C, L) with a kernel of three axes, strided and not."""
    x, weight = torch.randn(2, 12, 40), torch.randn(20, 12, 4) / 7
    for stride in (1, 2):
        found = []
        for dtype in (torch.float64, torch.float32):
            leaves = [t.to(dtype).requires_grad_() for t in (x, weight)]
            y = conv_norm_act(*leaves, norm="layer", activation="silu", padding=(1, 2), stride=stride)  # type: ignore[arg-type]
            found.append(torch.autograd.grad(y.square().sum(), leaves))  # type: ignore[union-attr]
        for want, got in zip(*found, strict=True):
            assert (got - want).abs().max() <= CLOSE * want.abs().max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_second_order_is_exact(norm: Any, activation: Any) -> None:
    """Of float32 through the kernels' first order, against float64's differences of first order by autograd."""
    generator = torch.Generator().manual_seed(5)
    x, weight, scale, direction = (
        torch.randn(s, generator=generator, dtype=torch.float64)
        for s in ((2, 6, 7, 6), (5, 6, 3, 3), (6,), (2, 6, 7, 6))
    )

    def penalty(*leaves: Tensor) -> tuple[Tensor, ...]:
        images, kernel, factor = leaves
        y = conv_norm_act(
            images, kernel, padding=1, norm=norm, num_groups=2, norm_weight=factor, activation=activation
        )
        assert isinstance(y, Tensor)
        (g,) = torch.autograd.grad(y.square().sum(), images, create_graph=True)
        return torch.autograd.grad((g * direction.to(g.dtype)).sum(), leaves)

    results = [
        penalty(*(t.to(dtype).requires_grad_() for t in (x, weight, scale)))
        for dtype in (torch.float64, torch.float32)
    ]
    for want, got in zip(*results, strict=True):
        assert (got - want).abs().max() <= 1e-3 * want.abs().max() + 1e-4


def test_the_graph_of_a_gradient_stops_at_the_units_inputs() -> None:
    """One input made of another counts once."""
    weight = torch.randn(4, 4, 3, 3, requires_grad=True)
    x = torch.randn(2, 4, 6, 6) * weight.sum()
    y = conv_norm_act(x, weight, padding=1, activation="tanh")
    (g,) = torch.autograd.grad(y.sum(), weight, create_graph=True)  # type: ignore[union-attr]
    twin = weight.detach().double().requires_grad_()
    other = (x / weight.sum()).detach().double() * twin.sum()
    z = torch.nn.functional.conv2d(other.tanh(), twin, padding=1)
    (h,) = torch.autograd.grad(z.sum(), twin, create_graph=True)
    assert torch.allclose(g.double(), h, rtol=1e-3, atol=1e-3 * float(h.abs().max()))
    (gg,), (hh,) = torch.autograd.grad(g.square().sum(), weight), torch.autograd.grad(h.square().sum(), twin)
    assert torch.allclose(gg.double(), hh, rtol=1e-3, atol=1e-3 * float(hh.abs().max()))


def test_statistics_handed_on_carry_their_gradient() -> None:
    """Two units, the second normalising by the statistics that the first gave with its output."""
    x, first, second = torch.randn(2, 8, 9, 9), torch.randn(16, 8, 3, 3), torch.randn(4, 16, 3, 3)
    options: dict[str, Any] = {"norm": "group", "num_groups": 4, "activation": "silu", "padding": 1}

    def run(dtype: torch.dtype, handed_on: bool) -> tuple[Tensor, ...]:
        leaves = [t.to(dtype).requires_grad_() for t in (x, first, second)]
        y, stats = conv_norm_act(leaves[0], leaves[1], padding=1, return_stats=True)
        z = conv_norm_act(y, leaves[2], **options, stats=stats if handed_on else None)
        return torch.autograd.grad(z.square().sum(), leaves)  # type: ignore[union-attr]

    want = run(torch.float64, False)
    for handed_on in (False, True):
        for got, expected in zip(run(torch.float32, handed_on), want, strict=True):
            assert (got - expected).abs().max() <= CLOSE * expected.abs().max()


def test_raw_input_and_statistics_are_what_is_kept() -> None:
    x, weight = torch.randn(4, 32, 16, 16, requires_grad=True), torch.randn(32, 32, 3, 3, requires_grad=True)
    residual = torch.randn(4, 32, 16, 16, requires_grad=True)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = conv_norm_act(
            x, weight, norm="group", num_groups=4, activation="silu", padding=1, residual=residual
        )
    assert sum(kept.values()) == x.nbytes + weight.nbytes + 4 * 32 * 2 * 4
    assert isinstance(y, Tensor) and y.requires_grad


def test_a_residual_passes_its_gradient_on_without_a_copy() -> None:
    x, weight = torch.randn(2, 8, 6, 6), torch.randn(8, 8, 3, 3, requires_grad=True)
    residual, given = torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(2, 8, 6, 6)
    y = conv_norm_act(x, weight, padding=1, residual=residual)
    (found,) = torch.autograd.grad(y, residual, given)  # type: ignore[arg-type]
    assert found.data_ptr() == given.data_ptr()


def test_bits_depend_on_no_threads() -> None:
    def run() -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        leaves = [torch.randn(s, requires_grad=True) for s in ((3, 24, 19, 17), (20, 24, 3, 3), (24,), (20,))]
        y = conv_norm_act(
            leaves[0],
            leaves[1],
            leaves[3],
            norm="instance",
            norm_weight=leaves[2],
            activation="gelu",
            padding=1,
        )
        return torch.autograd.grad(y.square().sum(), leaves)  # type: ignore[union-attr]

    want = run()
    for count in (1, 2, 5):
        with threads(count):
            assert all(torch.equal(a, b) for a, b in zip(run(), want, strict=True))


def test_weights_in_training_are_not_kept_packed() -> None:
    from genfuse_kernels.common.packed_weights import packed_bytes, refresh

    refresh()
    weight = torch.randn(32, 32, 3, 3, requires_grad=True)
    conv_norm_act(torch.randn(1, 32, 9, 9), weight, padding=1).sum().backward()  # type: ignore[union-attr]
    assert packed_bytes() == 0
    with torch.no_grad():
        conv_norm_act(torch.randn(1, 32, 9, 9), weight, padding=1)
    assert packed_bytes() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    """Error at most twice that of PyTorch's own kernels at that dtype, beside float32 parameters."""
    torch.manual_seed(8)
    x, weight, scale = torch.randn(2, 32, 12, 12), torch.randn(48, 32, 3, 3) / 17, torch.rand(32) + 0.5
    given = torch.randn(2, 48, 12, 12).to(dtype)

    def run(kind: torch.dtype, backend: Any) -> list[Tensor]:
        leaves = [t.to(dtype).to(kind).requires_grad_() for t in (x, weight, scale)]
        with genfuse.backend(backend):
            y = conv_norm_act(
                leaves[0],
                leaves[1],
                norm="group",
                num_groups=4,
                norm_weight=leaves[2],
                activation="silu",
                padding=1,
            )
            found = torch.autograd.grad(y, leaves, given.to(kind))  # type: ignore[arg-type]
        assert [t.dtype for t in found] == [kind] * 3
        return list(found)

    for want, ours, theirs in zip(
        run(torch.float64, "aten"), run(dtype, "cpu"), run(dtype, "aten"), strict=True
    ):
        assert (ours - want).square().mean() <= 4 * (theirs - want).square().mean() + 1e-12


def test_transforms_run_on_pytorchs_kernels() -> None:
    x, weight = torch.randn(3, 4, 6, 6), torch.randn(4, 4, 3, 3)

    def loss(kernel: Tensor, image: Tensor) -> Tensor:
        y = conv_norm_act(image[None], kernel, padding=1, activation="silu")
        assert isinstance(y, Tensor)
        return y.square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, x)
    for i in range(3):
        leaf = weight.clone().requires_grad_()
        (want,) = torch.autograd.grad(loss(leaf, x[i]), leaf)
        assert torch.allclose(each[i], want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


def test_of_an_empty_batch() -> None:
    x, weight = torch.randn(0, 8, 6, 6, requires_grad=True), torch.randn(4, 8, 3, 3, requires_grad=True)
    y = conv_norm_act(x, weight, padding=1, norm="group", num_groups=2, activation="silu")
    found = torch.autograd.grad(y.sum(), (x, weight))  # type: ignore[union-attr]
    assert found[0].shape == x.shape and torch.equal(found[1], torch.zeros_like(weight))
    assert norm_stats(x.detach()).shape == (0, 8, 2)


def test_of_an_empty_batch_with_a_skip_and_dropout() -> None:
    x, skip = (torch.randn(0, channels, 6, 6, requires_grad=True) for channels in (8, 4))
    weight = torch.randn(4, 12, 3, 3, requires_grad=True)
    y = conv_norm_act(
        x, weight, padding=1, skip=skip, norm="group", dropout=0.3, seeds=torch.empty(0, dtype=torch.int64)
    )
    found = torch.autograd.grad(y.sum(), (x, skip, weight))  # type: ignore[union-attr]
    assert found[0].shape == x.shape and found[1].shape == skip.shape
    assert torch.equal(found[2], torch.zeros_like(weight))
