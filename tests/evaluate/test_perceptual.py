"""The perceptual distance, the diversity of pairs, and the path length of generators that are known."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genfuse.evaluate import PerceptualDistance, diversity, encoder, perceptual_path_length
from genfuse.evaluate.path_length import slerp
from genfuse.evaluate.perceptual import _pairs


def test_distance_grows_with_what_is_done_to_a_picture() -> None:
    distance = PerceptualDistance(encoder())
    x = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8) * 2 - 1, (32, 32), mode="bilinear")
    noise = torch.randn_like(x)
    assert (distance(x, x) == 0).all()
    sizes = torch.stack([distance(x, x + size * noise) for size in (0.02, 0.1, 0.5)])
    assert (sizes.diff(dim=0) > 0).all() and (sizes > 0).all()
    torch.testing.assert_close(distance(x, x + noise), distance(x + noise, x))
    assert distance(x[:0], x[:0]).shape == (0,)
    with pytest.raises(ValueError, match="y has 3 pictures, expected 4"):
        distance(x, x[:3])


def test_distance_by_its_definition() -> None:
    network = encoder()
    x, y = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    expected = torch.zeros(3)
    for a, b in zip(network.maps(x), network.maps(y), strict=True):
        units = [torch.nn.functional.normalize(of.double(), dim=1) for of in (a, b)]
        expected += ((units[0] - units[1]) ** 2).sum(1).mean((1, 2))
    torch.testing.assert_close(PerceptualDistance(network)(x, y), expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_a_picture_in_which_nothing_is_seen() -> None:
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    PerceptualDistance(encoder())(x, torch.rand(1, 3, 32, 32)).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.isfinite().all()


class Difference(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().flatten(1).mean(1)


def test_diversity_is_the_mean_over_pairs() -> None:
    images = torch.arange(40.0)[:, None, None, None].expand(-1, 3, 2, 2)
    mean, error = diversity(Difference(), images, pairs=4000)
    assert abs(mean - 41 / 3) < 5 * error and 0.1 < error < 0.2  # E|i − j| of different ones is (n + 1)/3
    assert diversity(Difference(), images, pairs=4000) == (mean, error)
    labels = torch.arange(40) % 4
    within, _ = diversity(Difference(), images // 10 * 100, labels, pairs=500)
    assert within > 0
    assert diversity(Difference(), labels.float()[:, None, None, None].expand(-1, 3, 2, 2), labels)[0] == 0


def test_pairs_are_of_different_pictures_of_one_label() -> None:
    labels = torch.tensor([3, 1, 3, 2, 1, 3])  # 2 is alone
    first, second = _pairs(6, labels, 3000, torch.Generator().manual_seed(0))
    assert (
        (first != second).all() and torch.equal(labels[first], labels[second]) and (labels[first] != 2).all()
    )
    drawn = set(zip(first.tolist(), second.tolist(), strict=True))
    assert drawn == {(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]}


def linear(z: Tensor) -> Tensor:
    """Each latent's numbers are the picture's: the distance of two pictures is that of their latents."""
    return z[:, :, None, None]


def squared(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().flatten(1).sum(1)


def test_path_length_of_a_linear_generator() -> None:
    """‖z₂ − z₁‖² for every path; on the sphere the angle, squared."""
    first, second = torch.randn(2, 50, 6, dtype=torch.float64)
    lengths = perceptual_path_length(linear, squared, first, second, discard=0.0, batch_size=16)
    torch.testing.assert_close(lengths, (first - second).square().sum(1), rtol=1e-6, atol=0)
    kept = perceptual_path_length(linear, squared, first, second, discard=0.1)
    torch.testing.assert_close(kept.sort().values, lengths.sort().values[4:45])
    x, y = (nn.functional.normalize(z, dim=1) for z in (first, second))
    lengths = perceptual_path_length(linear, squared, x, y, interpolation="slerp", discard=0.0)
    torch.testing.assert_close(lengths, (x * y).sum(1).acos().square(), rtol=1e-5, atol=0)


def test_path_length_against_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose metric asks for torchvision, and uses nothing of it with a distance of one's own."""
    from torchmetrics.functional.image.perceptual_path_length import perceptual_path_length as peer

    monkeypatch.setattr(sys.modules[peer.__module__], "_TORCHVISION_AVAILABLE", True)
    latents = torch.randn(2, 200, 6, dtype=torch.float64)

    class Generator(nn.Module):
        drawn = iter(latents)

        def sample(self, count: int) -> Tensor:
            return next(self.drawn)

        def forward(self, z: Tensor) -> Tensor:
            return 127.5 * (linear(z).tanh() + 1)

    class Squared(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return squared(x, y)

    mean, _, lengths = peer(Generator(), 200, interpolation_method="slerp_any", sim_net=Squared())
    got = perceptual_path_length(lambda z: linear(z).tanh(), squared, *latents, interpolation="slerp")
    torch.testing.assert_close(got, lengths, rtol=1e-6, atol=0)
    assert got.mean().item() == pytest.approx(mean.item(), rel=1e-6)


def test_slerp_where_there_is_no_direction() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(slerp(x, y, 0.25), torch.lerp(x, y, 0.25))


Z = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: perceptual_path_length(linear, squared, Z, Z[:2]), r"second has shape \(2, 3\)"),
        (lambda: perceptual_path_length(linear, squared, Z, Z, epsilon=0.0), "epsilon is 0.0"),
        (
            lambda: perceptual_path_length(linear, squared, Z, Z, interpolation="slepr"),
            "did you mean 'slerp'",
        ),
        (lambda: diversity(Difference(), torch.zeros(1, 3, 2, 2)), "no two of one label"),
        (
            lambda: diversity(Difference(), torch.zeros(3, 3, 2, 2), torch.arange(2)),
            r"labels has shape \(2,\)",
        ),
        (lambda: diversity(Difference(), torch.zeros(3, 3, 2, 2), pairs=1), "pairs is 1"),
    ],
)
def test_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
