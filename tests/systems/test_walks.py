"""Walks through the latents."""

from __future__ import annotations

import math

import torch

from genfuse.systems import walks


def test_slerp_keeps_the_length_and_turns_evenly() -> None:
    start, end = torch.tensor([2.0, 0, 0]), torch.tensor([0, 2.0, 0])
    walked = walks.slerp(start, end, torch.linspace(0, 1, 4))
    torch.testing.assert_close(walked.norm(dim=1), torch.full((4,), 2.0))
    angles = torch.atan2(walked[:, 1], walked[:, 0])
    torch.testing.assert_close(angles, torch.linspace(0, math.pi / 2, 4))
    assert torch.equal(walks.slerp(start, start, torch.tensor([0.0, 0.5])), torch.stack((start, start)))
    assert walks.slerp(start, -start, torch.tensor([0.5])).isfinite().all()


def test_interpolation_goes_from_each_to_the_next() -> None:
    latents, labels = torch.randn(20, 8), torch.arange(20)
    walked, of, columns = walks.interpolation(latents, labels)
    assert walked.shape == (20, 8) and columns == walks.STEPS and of.tolist() == [0] * 10 + [1] * 10
    for row in range(2):
        torch.testing.assert_close(walked[10 * row], latents[row])
        torch.testing.assert_close(walked[10 * row + 9], latents[row + 1])
    jumps = walked[1:10] - walked[:9]
    assert jumps.norm(dim=1).max() < 0.5 * (walked[9] - walked[0]).norm()
    assert len(walks.interpolation(latents[:1], labels[:1])[0]) == walks.STEPS


def test_arithmetic() -> None:
    latents = torch.randn(12, 8)
    walked, of, columns = walks.arithmetic(latents, torch.arange(12))
    a, b, c, total = walked[4:8]
    assert columns == 4 and of.tolist()[4:8] == [1] * 4 and torch.equal(walked[4:7], latents[3:6])
    torch.testing.assert_close(total * math.sqrt(3), a - b + c)
