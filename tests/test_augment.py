"""DiffAugment against slices written out sample by sample, with Philox's words read as its spec says."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import genfuse
from genfuse.augment import CHANGES, Change, diff_augment
from genfuse_kernels.philox_normal.reference import philox4x32
from genfuse_kernels.philox_normal.spec import STREAM_AUGMENTATION

SHAPES = [(3, 3, 8, 8), (2, 1, 7, 13), (5, 4, 1, 3), (1, 2, 33, 2), (0, 3, 8, 8)]
POLICIES: list[tuple[Change, ...]] = [chosen for size in range(4) for chosen in combinations(CHANGES, size)]


def seeds_of(count: int, first: int = 0) -> Tensor:
    """Spread over all 64 bits, negative ones too."""
    spread = [(first + n) * 0x9E3779B97F4A7C15 % 2**64 - 2**63 for n in range(count)]
    return torch.tensor(spread, dtype=torch.int64)


def uniforms(seed: int) -> list[float]:
    """Eight in (0, 1): the words of blocks 0 and 1, one counter at a time."""
    key = (torch.tensor(seed & 0xFFFFFFFF), torch.tensor((seed >> 32) & 0xFFFFFFFF))
    words: list[int] = []
    for block in range(2):
        counter = (torch.tensor(block), torch.tensor(0), torch.tensor(0), torch.tensor(STREAM_AUGMENTATION))
        words += [int(word) for word in philox4x32(counter, key)]
    return [((word >> 9) + 0.5) / 2**23 for word in words]


def one(image: Tensor, seed: int, policy: tuple[str, ...]) -> Tensor:
    """(C, H, W) in float64, as the authors' code does it: padding, slices and loops."""
    u = uniforms(seed)
    x = image.double()
    _, height, width = x.shape
    if "color" in policy:
        x = x + (u[0] - 0.5)
        grey = x.mean(0, keepdim=True)
        x = (x - grey) * (2 * u[1]) + grey
        x = (x - x.mean()) * (u[2] + 0.5) + x.mean()
    if "translation" in policy:
        most = [int(side * 0.125 + 0.5) for side in (height, width)]
        down, right = (int(u[3 + axis] * (2 * most[axis] + 1)) - most[axis] for axis in (0, 1))
        padded = torch.nn.functional.pad(x, (most[1], most[1], most[0], most[0]))
        x = padded[:, most[0] - down :, most[1] - right :][:, :height, :width]
    if "cutout" in policy:
        x = x.clone()
        sides = [int(side * 0.5 + 0.5) for side in (height, width)]
        spans = []
        for axis, side in enumerate((height, width)):
            begin = int(u[5 + axis] * (side + 1 - sides[axis] % 2)) - sides[axis] // 2
            spans.append(slice(max(begin, 0), min(begin + sides[axis], side)))
        x[:, spans[0], spans[1]] = 0
    return x


def expected(images: Tensor, seeds: Tensor, policy: tuple[str, ...]) -> Tensor:
    rows = [one(image, int(seed), policy) for image, seed in zip(images, seeds, strict=True)]
    return torch.stack(rows) if rows else images.double()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("poisoned")
def test_against_loops(shape: tuple[int, ...], policy: tuple[Change, ...]) -> None:
    images, seeds = torch.randn(shape, dtype=torch.float64), seeds_of(shape[0])
    torch.testing.assert_close(
        diff_augment(images, seeds, policy=policy), expected(images, seeds, policy), rtol=1e-13, atol=1e-13
    )


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    first=st.integers(0, 500),
    transposed=st.booleans(),
)
def test_any_size_and_stride(shape: tuple[int, ...], first: int, transposed: bool) -> None:
    images, seeds = torch.randn(shape, dtype=torch.float64), seeds_of(shape[0], first)
    if transposed:
        images = images.mT
    torch.testing.assert_close(
        diff_augment(images, seeds), expected(images, seeds, CHANGES), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_precision(dtype: torch.dtype) -> None:
    """One rounding of the result, beside a few of float32's at 3·(2·4 + ½), the largest number on the way."""
    images, seeds = torch.randn(4, 3, 16, 16).clamp(-4, 4).to(dtype), seeds_of(4)
    got, exact = diff_augment(images, seeds), expected(images, seeds, CHANGES)
    assert got.dtype == dtype
    bound = torch.finfo(dtype).eps / 2 * exact.abs() + 26 * 8 * torch.finfo(torch.float32).eps
    assert ((got.double() - exact).abs() <= bound).all()


def test_a_sample_depends_on_its_own_seed_alone() -> None:
    images, seeds = torch.randn(6, 3, 9, 12), seeds_of(6)
    whole = diff_augment(images, seeds)
    assert torch.equal(diff_augment(images[2:3], seeds[2:3]), whole[2:3])
    assert torch.equal(diff_augment(images.flip(0), seeds.flip(0)), whole.flip(0))
    assert not torch.equal(diff_augment(images, seeds + 1), whole)


def test_real_and_fake_are_changed_alike_by_equal_seeds() -> None:
    """What is done is affine, so two pictures' difference shows their common part: brightness is not in it."""
    real, fake = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    seeds = seeds_of(4)
    apart = diff_augment(real, seeds) - diff_augment(fake, seeds)
    of_zero = diff_augment(torch.zeros_like(real), seeds)
    torch.testing.assert_close(diff_augment(real - fake, seeds) - of_zero, apart)


def test_a_change_is_the_same_whatever_else_is_done() -> None:
    images, seeds = torch.randn(4, 3, 12, 8), seeds_of(4)
    step_by_step = images
    for name in CHANGES:
        step_by_step = diff_augment(step_by_step, seeds, policy=(name,))
    assert torch.equal(diff_augment(images, seeds), step_by_step)
    assert torch.equal(diff_augment(images, seeds, policy=CHANGES[::-1]), step_by_step)
    assert diff_augment(images, seeds, policy=()) is images


@pytest.mark.parametrize("policy", POLICIES[1:])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_is_kept(policy: tuple[Change, ...], dtype: torch.dtype) -> None:
    images, seeds = torch.randn(3, 5, 6, 10).to(dtype), seeds_of(3)
    got = diff_augment(images.contiguous(memory_format=torch.channels_last), seeds, policy=policy)
    assert got.is_contiguous(memory_format=torch.channels_last)
    plain = diff_augment(images, seeds, policy=policy)
    assert plain.is_contiguous()
    # A mean is added up in the order of memory: float32's rounding, of which bfloat16's may see one.
    torch.testing.assert_close(got, plain, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_gradients(policy: tuple[Change, ...]) -> None:
    images = torch.randn(3, 2, 6, 5, dtype=torch.float64, requires_grad=True)

    def augmented(x: Tensor) -> Tensor:
        return diff_augment(x, seeds_of(3), policy=policy)

    assert torch.autograd.gradcheck(augmented, images, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(augmented, images)


def test_what_is_cut_out_leaves_no_trace() -> None:
    """NaN and infinity where zeros go, forwards and in the gradient."""
    seeds = seeds_of(8)
    policy: tuple[Change, ...] = ("translation", "cutout")
    kept = torch.ones(8, 1, 16, 16, requires_grad=True)
    (read,) = torch.autograd.grad(diff_augment(kept, seeds, policy=policy).sum(), kept)
    assert set(read.unique().tolist()) == {0.0, 1.0}
    images = torch.where(read == 0, math.nan, torch.randn_like(read)).requires_grad_()
    changed = diff_augment(images, seeds, policy=policy)
    assert changed.isfinite().all()
    (gradient,) = torch.autograd.grad(changed.square().sum(), images)
    assert gradient.isfinite().all()


def test_draws_reach_their_whole_range_evenly() -> None:
    """Each of 5 shifts of 16 pixels, each of 17 centres of a hole: as often as the next, within 5 deviations."""
    count = 4000
    seeds = torch.arange(count)
    mark = torch.zeros(count, 1, 16, 16)
    mark[:, :, 8, 8] = 1
    at = diff_augment(mark, seeds, policy=("translation",)).flatten(1).argmax(1)
    for places in (at // 16, at % 16):
        assert_even(torch.bincount(places - 6, minlength=5), count)
    holes = diff_augment(torch.ones(count, 1, 16, 16), seeds, policy=("cutout",))[:, 0] == 0
    for axis in (1, 2):
        lines = holes.any(axis)
        first, length = lines.int().argmax(1), lines.sum(1)
        centre = torch.where(first > 0, first + 4, length - 4)
        assert_even(torch.bincount(centre, minlength=17), count)


def assert_even(counts: Tensor, total: int) -> None:
    share = 1 / len(counts)
    assert ((counts - total * share).abs() < 5 * math.sqrt(total * share * (1 - share))).all(), counts


def test_under_compile() -> None:
    images, seeds = torch.randn(2, 3, 8, 8), seeds_of(2)
    compiled = torch.compile(diff_augment, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images, seeds), diff_augment(images, seeds))


IMAGES = torch.zeros(2, 3, 8, 8)
SEEDS = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: diff_augment(IMAGES[0], SEEDS),
            ValueError,
            r"images has shape \(3, 8, 8\), expected \(N, C",
        ),
        (lambda: diff_augment(IMAGES.byte(), SEEDS), TypeError, r"images has dtype torch.uint8, expected"),
        (lambda: diff_augment(IMAGES, None), TypeError, r"seeds is None, expected an int64 tensor \(2,\)"),  # type: ignore[arg-type]
        (lambda: diff_augment(IMAGES, SEEDS[:1]), ValueError, r"seeds has shape \(1,\), expected \(2,\)"),
        (lambda: diff_augment(IMAGES, SEEDS.int()), TypeError, r"seeds has dtype torch.int32, expected"),
        (
            lambda: diff_augment(IMAGES, SEEDS, policy="color"),
            TypeError,
            r"policy is 'color', expected several",
        ),  # type: ignore[arg-type]
        (
            lambda: diff_augment(IMAGES, SEEDS, policy=("colour",)),  # type: ignore[arg-type]
            ValueError,
            r"policy\[0\] is 'colour', expected one of .*did you mean 'color'\?",
        ),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_package_hands_it_out() -> None:
    assert genfuse.augment.diff_augment is diff_augment
