"""Where the gradient is taken, and the norms of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.ops import philox_normal
from genfuse.penalties.points import point_of
from genfuse_kernels.philox_normal.reference import philox_words
from genfuse_kernels.philox_normal.spec import STREAM_INTERPOLATION, STREAM_PERTURBATION
from penalties.double_backward import Seen, samples

SHAPE = (6, 3, 4, 4)


def point(kind: Any, real: Tensor | None, fake: Tensor | None, seed: int | None = 7) -> Tensor:
    seen = Seen(lambda x: x.flatten(1).square().sum(1))
    genfuse.gradient_penalty(seen, real, fake, kind=kind, seed=seed)
    return seen.point


def shares(real: Tensor, fake: Tensor, seed: int | None = 7) -> Tensor:
    """How far between them the interpolates are, one number a sample."""
    between = ((point("wgan-gp", real, fake, seed) - fake) / (real - fake)).flatten(1)
    assert torch.allclose(between, between[:, :1].expand_as(between))
    return between[:, 0]


@pytest.mark.parametrize("kind", ["wgan-gp", "wgan-lp", "zero-centered", "max-gp"])
def test_interpolates(kind: str) -> None:
    real, fake = samples((2000, 2))
    u = (point(kind, real, fake) - fake)[:, 0] / (real - fake)[:, 0]
    assert 0 < u.min() < 0.01 and 0.99 < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.03 and abs(u.var() - 1 / 12) < 0.01


def test_a_sample_has_a_weight_of_its_own() -> None:
    real, fake = samples(SHAPE)
    u = shares(real, fake)
    assert len(u.unique()) == len(u)
    assert torch.allclose(shares(real[:2], fake[:2]), u[:2])  # whatever the batch
    assert torch.allclose(shares(real.float(), fake.float()).double(), u, atol=1e-4)
    assert not torch.allclose(shares(real, fake, seed=8), u)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
@pytest.mark.parametrize("first", [0, 2**32 - 3])
def test_weights_are_philox_s(seed: int, first: int) -> None:
    """Bit for bit; rows up to the last that the counter has."""
    rows = torch.arange(first, first + 3)
    words = philox_words(torch.full((3,), seed), 1, rows, STREAM_INTERPOLATION)[:, 0]
    want = ((words >> 9).double() + 0.5) * 2.0**-23
    real = torch.ones(3, 1, dtype=torch.float64)
    u = point_of("interpolates", real, torch.zeros_like(real), seed, first)[:, 0]
    assert torch.equal(u, want)


def test_without_a_seed_points_follow_pytorch_s_generator() -> None:
    real, fake = samples(SHAPE)
    first = shares(real, fake, None)
    assert not torch.allclose(shares(real, fake, None), first)
    torch.manual_seed(0)
    samples(SHAPE)
    assert torch.equal(shares(real, fake, None), first)


def test_real_and_fake() -> None:
    real, fake = samples(SHAPE)
    assert torch.equal(point("r1", real, None), real)
    assert torch.equal(point("r2", None, fake), fake)
    assert torch.equal(point("r1", real, fake), real)


def test_perturbed() -> None:
    real, _ = samples((200, 30))
    real = 3 * real + 1
    noise = (point("dragan", real, None) - real) / (0.5 * real.std(correction=0))
    seeds = torch.full((200,), 7)
    want = philox_normal(
        seeds, (200, 30), row=torch.arange(200), stream=STREAM_PERTURBATION, dtype=torch.float64
    )
    assert torch.allclose(noise, want)
    assert abs(noise.std() - 1) < 0.03


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtypes_of_points(dtype: torch.dtype) -> None:
    real, fake = samples(SHAPE, dtype)
    assert point("dragan", real, fake).dtype == point("wgan-gp", real, fake).dtype == dtype


def test_norms_are_those_of_the_gradient() -> None:
    real, fake = samples(SHAPE)
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(16, 1)).double()
    penalty, norms = genfuse.gradient_penalty(critic, real, fake, kind="r2", weight=2.0, return_norms=True)
    x = fake.requires_grad_()
    (g,) = torch.autograd.grad(critic(x).sum(), x)
    assert torch.allclose(norms, g.flatten(1).norm(dim=1), rtol=1e-12)
    assert not norms.requires_grad and penalty.requires_grad
    assert torch.allclose(penalty, norms.square().mean(), rtol=1e-12)


def test_one_sample_without_a_gradient_is_no_nan() -> None:
    """A critic that is dead for one sample, and for all."""
    critic = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    nn.init.constant_(critic[0].bias, -1e3)  # type: ignore[arg-type]
    for real in (torch.randn(5, 3), torch.cat([1e5 * torch.ones(1, 3), torch.zeros(4, 3)])):
        for kind in ("wgan-gp", "r1", "zero-centered", "dragan"):
            critic.zero_grad()
            penalty = genfuse.gradient_penalty(critic, real, real.clone(), kind=kind)  # type: ignore[arg-type]
            assert isinstance(penalty, Tensor)
            penalty.backward()
            assert penalty.isfinite()
            assert all(w.grad is None or w.grad.isfinite().all() for w in critic.parameters())


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 7), (5, 1, 2, 3, 4)])
def test_any_rank(shape: tuple[int, ...]) -> None:
    scale = torch.randn(shape[1:], dtype=torch.float64, requires_grad=True)
    real, fake = samples(shape)
    penalty = genfuse.gradient_penalty(
        lambda x: (scale * x).reshape(5, -1).sin().sum(1), real, fake, kind="r1", weight=1.0
    )
    assert isinstance(penalty, Tensor)
    want = ((scale * (scale * real).cos()).reshape(5, -1) ** 2).sum(1).mean() / 2
    (got,), (exact,) = torch.autograd.grad(penalty, scale), torch.autograd.grad(want, scale)
    assert torch.allclose(penalty, want) and torch.allclose(got, exact, rtol=1e-10)
