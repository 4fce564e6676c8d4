"""The history of fakes that a critic is shown (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfuse.ops import check
from genfuse.train import Step


class ImagePool(nn.Module):
    """The last ``size`` fakes and older ones: buffers, so that a checkpoint holds them and a run resumes bit for bit.

    Args:
        size: pictures kept; 0 keeps none.
        shape: (C, H, W) of a picture.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        check.count("size", size, 0)
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchanged(self, fakes: Tensor, now: Step) -> Tensor:
        """What the critic is shown in the place of ``fakes``, (N, C, H, W): each one, or half the time one kept.

        Until the pool is full each fake is kept and shown; a kept one that is shown gives its place to the new one.
        """
        shown, size = fakes.detach().clone(), len(self.images)
        swaps, places = now.integers(2, len(fakes)), now.integers(max(size, 1), len(fakes))
        for index, fake in enumerate(shown.clone()):
            filled, place = int(self.filled), int(places[index])
            if filled < size:
                self.images[filled] = fake
                self.filled += 1
            elif size and swaps[index]:
                shown[index] = self.images[place]
                self.images[place] = fake
        return shown
