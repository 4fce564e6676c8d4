"""Copies are found, mirrored and noisy ones too; of new pictures as many are taken for copies as is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genfuse.evaluate import Copies, TrainingSet
from genfuse.evaluate.memorisation import pixels


def shapes(count: int, seed: int) -> Tensor:
    """(count, 1, 16, 16): smooth random pictures."""
    coarse = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear").tanh()


def copies_of(images: Tensor, training: TrainingSet) -> Copies:
    copies = Copies(6)
    for part in images.split(100):
        copies.update(part, training)
    return copies


def test_new_pictures_are_as_often_copies_as_is_said() -> None:
    training = TrainingSet(shapes(800, 0), share=0.1)
    copies = copies_of(shapes(800, 1), training)
    assert abs(copies.share - 0.1) < 5 * (2 * 0.1 * 0.9 / 800) ** 0.5
    assert abs(copies.nearer - 0.5) < 0.1
    assert copies.count == 800


def test_copies_are_found() -> None:
    images = shapes(300, 0)
    training = TrainingSet(images)
    noisy = images[:60].flip(3) + 0.1 * torch.randn(60, 1, 16, 16)
    copies = copies_of(noisy, training)
    assert copies.share == 1 and copies.nearer > 0.99
    ratios, which = training.nearest(noisy)
    assert torch.equal(which, torch.arange(60) + 300) and (ratios < training.threshold).all()
    assert torch.equal(training.picture(which), images[:60].flip(3))


def test_pairs_are_the_nearest() -> None:
    images = shapes(300, 0)
    training = TrainingSet(images)
    drawn = torch.cat((shapes(40, 1), images[7:8], images[9:10].flip(3)))
    copies = copies_of(drawn[torch.randperm(42)], training)
    pairs = copies.pairs(training)
    assert pairs.shape == (12, 1, 16, 16) and (copies.ratios.diff() >= 0).all()
    assert {int(i) for i in copies.nearest[:2]} == {7, 309}
    assert torch.equal(pairs[0], pairs[1]) and torch.equal(pairs[2], pairs[3])


def test_twins_in_the_training_set() -> None:
    """Equal pictures: ratios of 0, not of 0/0; a copy of them is no nearer than they are to each other."""
    training = TrainingSet(torch.ones(10, 1, 8, 8))
    assert (training.ratios == 0).all() and training.threshold == 0
    copies = copies_of(torch.ones(3, 1, 8, 8), training)
    assert copies.share == 1 and copies.nearer == 0.5


def test_no_samples() -> None:
    copies = Copies()
    assert copies.share != copies.share and copies.nearer != copies.nearer


def test_pixels_are_averaged() -> None:
    assert pixels(torch.rand(2, 3, 64, 128)).shape == (2, 3 * 32 * 32)
    small = torch.rand(2, 3, 8, 5)
    assert torch.equal(pixels(small), small.flatten(1))


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"images has shape \(2, 1, 16, 16\), expected \(M, C, H, W\), M at least 3"
    ):
        TrainingSet(shapes(2, 0))
    with pytest.raises(ValueError, match=r"share is 0 of 50 neighbours"):
        TrainingSet(shapes(9, 0), share=0)
    with pytest.raises(ValueError, match=r"images has shape \(2, 1, 8, 8\), expected \(N, C, H, W\)"):
        TrainingSet(shapes(9, 0)).nearest(torch.zeros(2, 1, 8, 8))
