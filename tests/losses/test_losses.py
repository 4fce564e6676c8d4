"""The losses against their papers' formulas in float64, at the ends of half precision, and with bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genfuse import losses

Formula = Callable[[Tensor, Tensor], Tensor]

FORMULAS: dict[str, tuple[Formula, Formula]] = {
    "minimax": (
        lambda r, f: -r.sigmoid().log().mean() - (1 - f.sigmoid()).log().mean(),
        lambda _, f: (1 - f.sigmoid()).log().mean(),
    ),
    "non-saturating": (
        lambda r, f: -r.sigmoid().log().mean() - (1 - f.sigmoid()).log().mean(),
        lambda _, f: -f.sigmoid().log().mean(),
    ),
    "hinge": (lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(), lambda _, f: -f.mean()),
    "least-squares": (
        lambda r, f: 0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(),
        lambda _, f: 0.5 * ((f - 1) ** 2).mean(),
    ),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda _, f: -f.mean()),
    "energy-based": (lambda r, f: r.mean() + (1 - f).clamp(min=0).mean(), lambda _, f: f.mean()),
}


def test_every_loss_has_its_formula_here() -> None:
    assert losses.names() == tuple(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 9),
    other=st.integers(1, 9),
    rest=st.sampled_from([(), (1,), (1, 7, 5)]),
    seed=st.integers(0, 99),
)
def test_sides_are_their_formulas(
    name: str, batch: int, other: int, rest: tuple[int, ...], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    real, fake = (
        2 * torch.randn(size, *rest, dtype=torch.float64, generator=generator) for size in (batch, other)
    )
    loss, (critic, generators) = losses.get(name), FORMULAS[name]
    torch.testing.assert_close(loss.critic(real, fake), critic(real, fake), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss.generator(fake), generators(real, fake), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients(name: str) -> None:
    loss = losses.get(name)
    real, fake = (torch.randn(3, 1, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for function, inputs in ((loss.critic, (real, fake)), (loss.generator, (fake,))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", FORMULAS)
def test_logits_at_the_ends_of_their_range(name: str, dtype: torch.dtype) -> None:
    """A sure critic gives neither infinity nor a NaN gradient; float16's largest numbers are squared, and added up."""
    end = min(torch.finfo(dtype).max, 1e15)
    for value in (-end, -100.0, 0.0, 100.0, end):
        real, fake = (torch.full((64, 1), sign * value, dtype=dtype, requires_grad=True) for sign in (1, -1))
        loss = losses.get(name)
        for result in (loss.critic(real, fake), loss.generator(fake)):
            assert result.dtype == torch.float32 and result.isfinite()
            for gradient in torch.autograd.grad(result, (real, fake), allow_unused=True):
                assert gradient is None or (gradient.dtype == dtype and gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_is_widened_first(name: str, dtype: torch.dtype) -> None:
    """So the result is float32's of the rounded logits: a few ulp of the largest term, whatever the dtype."""
    real, fake = (3 * torch.randn(65, 1, 3, 3)).to(dtype), (3 * torch.randn(31, 1, 3, 3)).to(dtype)
    loss = losses.get(name)
    bound = 4 * torch.finfo(torch.float32).eps * float(torch.cat((real, fake)).double().abs().max() + 1) ** 2
    for got, exact in (
        (loss.critic(real, fake), loss.critic(real.double(), fake.double())),
        (loss.generator(fake), loss.generator(fake.double())),
    ):
        assert abs(got.double() - exact) <= bound


def test_a_sure_critic_teaches_the_generator_unless_the_loss_saturates() -> None:
    fake = torch.full((4,), -40.0, dtype=torch.float64, requires_grad=True)
    gradients = {
        name: torch.autograd.grad(losses.get(name).generator(fake), fake)[0].sum()
        for name in ("minimax", "non-saturating")
    }
    # Minimax's is −σ(−40), tiny and yet exact; F.softplus would give as much, log(1 − σ(l)) by parts 0.
    torch.testing.assert_close(
        gradients["minimax"], torch.tensor(-math.exp(-40), dtype=torch.float64), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(gradients["non-saturating"], torch.tensor(-1.0, dtype=torch.float64))


def test_options() -> None:
    real, fake = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 9.0])
    assert losses.get("energy-based", margin=5.0).critic(real, fake) == 3.5 + 2.0
    chosen = losses.get("least-squares", fake_label=-1, real_label=1, target=0)
    assert chosen.critic(real, fake) == (4 + 9 + 4 + 100) / 4
    assert chosen.generator(fake) == (1 + 81) / 4


def test_repelling_by_its_sums() -> None:
    codes = torch.randn(5, 2, 3, dtype=torch.float64)
    rows = codes.reshape(5, 6)
    total = sum(
        float((rows[i] @ rows[j] / rows[i].norm() / rows[j].norm()) ** 2)
        for i in range(5)
        for j in range(5)
        if i != j
    )
    assert math.isclose(losses.repelling(codes), total / 20, rel_tol=1e-12)
    assert losses.repelling(torch.eye(3)) == 0
    torch.testing.assert_close(losses.repelling(torch.ones(4, 3)), torch.tensor(1.0))
    zero = torch.zeros(3, 4, requires_grad=True)
    losses.repelling(zero).backward()  # type: ignore[no-untyped-call]
    assert zero.grad is not None and (zero.grad == 0).all()


def test_mode_seeking_is_the_authors() -> None:
    images, others = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
    z, other_z = torch.randn(2, 4, 8, dtype=torch.float64)
    lz = torch.mean(torch.abs(others - images)) / torch.mean(torch.abs(other_z - z))
    torch.testing.assert_close(losses.mode_seeking(images, others, z, other_z), 1 / (lz + 1e-5))
    torch.testing.assert_close(
        losses.mode_seeking(images, images, z, other_z), torch.tensor(1e5, dtype=torch.float64)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mode_seeking_of_equal_latents_seeks_nothing(dtype: torch.dtype) -> None:
    """Whether they gave equal pictures, as a deterministic generator does, or others."""
    z, images = torch.randn(2, 4, 8).to(dtype)
    for others in (images, images + 1):
        made = images.clone().requires_grad_()
        loss = losses.mode_seeking(made, others, z, z)
        (gradient,) = torch.autograd.grad(loss, made)
        assert loss == 0 and (gradient == 0).all()


def test_feature_matching_by_its_formulas() -> None:
    real = [torch.randn(6, 4, 3, 3, dtype=torch.float64), torch.randn(6, 8, dtype=torch.float64)]
    fake = [torch.randn(6, 4, 3, 3, dtype=torch.float64), torch.randn(6, 8, dtype=torch.float64)]
    means = sum(float(((r.mean(0) - f.mean(0)) ** 2).sum()) for r, f in zip(real, fake, strict=True))
    assert math.isclose(losses.feature_matching(real, fake), means, rel_tol=1e-12)
    assert (
        losses.feature_matching(real[0], real[0].flip(0)).abs() < 1e-25
    )  # pictures need not belong together
    pairs = sum(float((r - f).abs().sum() / r.numel()) for r, f in zip(real, fake, strict=True))
    assert math.isclose(losses.feature_matching_l1(real, fake), pairs, rel_tol=1e-12)


@pytest.mark.parametrize("loss", [losses.feature_matching, losses.feature_matching_l1])
def test_real_features_are_the_target(loss: Callable[..., Tensor]) -> None:
    real, fake = torch.randn(2, 3, 4, requires_grad=True)
    assert torch.autograd.grad(loss(real, fake), (real, fake), allow_unused=True)[0] is None


def test_reconstruction_by_its_formulas() -> None:
    x, x_made = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    y, y_made = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    expected = (x - x_made).abs().mean() + (y - y_made).abs().mean()
    assert losses.cycle(x, x_made, y, y_made) == expected == losses.identity(x, x_made, y, y_made)
    assert losses.l1(x, x_made) == (x - x_made).abs().mean()


def test_dtypes_may_differ_as_under_autocast() -> None:
    x = torch.randn(2, 3, 4, 4)
    made = x.bfloat16()
    assert losses.l1(made, x) == (made.float() - x).abs().mean()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: losses.l1(x, y),
        lambda x, y: losses.cycle(x, y, y, x),
        lambda x, y: losses.repelling(x),
        lambda x, y: losses.feature_matching(x, y),
        lambda x, y: losses.feature_matching_l1([x], [y]),
        lambda x, y: losses.mode_seeking(x, y, x[:, :1].detach(), y[:, :1].detach()),
    ],
)
def test_half_precision_of_the_others(call: Callable[[Tensor, Tensor], Tensor]) -> None:
    """float16 at 2·10⁴, whose squares and sums it cannot hold; strides that are not contiguous."""
    x, y = (2e4 * torch.randn(2, 6, 4, 5).clamp(-3, 3)).half().transpose(2, 3)
    got, exact = call(x, y), call(x.double(), y.double())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=0)


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.get("hing"), ValueError, r"loss is 'hing', expected one of .*did you mean 'hinge'\?"),
        (lambda: losses.get("hinge", margin=1), TypeError, r"option 'margin' is given, expected none"),
        (lambda: losses.get("energy-based", margn=1), TypeError, r"option is 'margn', .*mean 'margin'\?"),
        (lambda: losses.get("energy-based", margin=0), ValueError, r"margin is 0, expected more than 0"),
        (lambda: losses.get("least-squares", target=None), TypeError, r"target is None, expected a number"),
        (lambda: losses.get("hinge").critic(X, None), TypeError, r"fake is NoneType, expected a tensor"),
        (
            lambda: losses.get("hinge").critic(X.long(), X),
            TypeError,
            r"real has dtype torch.int64, expected float32",
        ),
        (
            lambda: losses.get("hinge").generator(X.sum()),
            ValueError,
            r"fake has shape \(\), expected \(N, ...\)",
        ),
        (
            lambda: losses.get("wasserstein").generator(X[:0]),
            ValueError,
            r"fake has shape \(0, 3\), expected at least one sample",
        ),
        (lambda: losses.repelling(X[:1]), ValueError, r"codes has shape \(1, 3\), expected at least two"),
        (lambda: losses.l1(X, X[:1]), ValueError, r"images has shape \(2, 3\), expected \(1, 3\) as target"),
        (
            lambda: losses.cycle(X, X, X, X.mT),
            ValueError,
            r"y_again has shape \(3, 2\), expected \(2, 3\) as y",
        ),
        (lambda: losses.mode_seeking(X, X, X[:1], X[:1]), ValueError, r"latents has 1 samples, expected 2"),
        (lambda: losses.mode_seeking(X, X, X, X, epsilon=0), ValueError, r"epsilon is 0, expected more than"),
        (lambda: losses.feature_matching([X], X), TypeError, r"real is list, fake is Tensor, expected two"),
        (lambda: losses.feature_matching([X], [X, X]), ValueError, r"real has 1 layers, fake 2, expected as"),
        (
            lambda: losses.feature_matching([X, X], [X, X.mT]),
            ValueError,
            r"fake\[1\] has shape \(3, 2\), expected \(N, \*\(3,\)\) as real\[1\]",
        ),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
