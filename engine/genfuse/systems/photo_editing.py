"""What a trained SinGAN does with pictures (Shaham et al. 2019, arXiv:1905.01164, section 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.ops import check, philox_normal
from genfuse.train.pictures import Pictures

if TYPE_CHECKING:
    from genfuse.systems.singan import Pyramid


def noises(seeds: Tensor, channels: int, sizes: Sequence[tuple[int, int]], first: int = 0) -> list[Tensor]:
    """(N, channels, *size) for scales ``first`` and on, each of its own row: a sample's are those of its seed."""
    return [
        philox_normal(seeds, (len(seeds), channels, *size), row=scale)
        for scale, size in enumerate(sizes, first)
    ]


class PhotoEditing:
    """Samples of other sizes, and pictures that are given the photograph's patches. Pictures are in [-1, 1].

    ``scale`` is where a picture enters the pyramid, 1 to the finest: the coarser, the more is made anew.
    """

    name: ClassVar[str]
    pyramid: Pyramid
    image_shape: tuple[int, ...]

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        height: int | None = None,
        width: int | None = None,
        scale: int = 0,
    ) -> Pictures:
        """Random samples (section 4, figures 6 to 8).

        Args:
            count, seed, batch, device, progress: as :meth:`genfuse.train.System.sample`.
            height, width: of the samples, the photograph's where left out.
            scale: coarser scales reconstruct the photograph, so that its layout stays; 0 keeps nothing.
        """
        if scale:
            self._check_scale(scale)
        began = time.perf_counter()
        place = check.device("device", device)
        pyramid = self.pyramid.to(place).eval()
        sizes = self._sizes(height or self.image_shape[1], width or self.image_shape[2])
        start = pyramid.reconstruction(scale)
        made = []
        for seeds in torch.split(torch.arange(seed, seed + count), batch):
            drawn = noises(seeds.to(place), self.image_shape[0], sizes[scale:], scale)
            image = None if start is None else start.expand(len(seeds), -1, -1, -1)
            made.append(pyramid(drawn, image, scale).clamp(-1, 1).cpu())
        return Pictures(torch.cat(made), time.perf_counter() - began, f"{self.name}, seed {seed}")

    def paint(self, painting: Tensor, scale: int = 1, seed: int = 0) -> Tensor:
        """A painting (1, C, H, W) as a photograph (figure 2, "paint to image"), of the photograph's shape.

        Its colours and layout stay, at the size of the scale below ``scale``. ValueError for other scales or shapes.
        """
        return self._entered(painting, scale, seed)

    def harmonize(self, composite: Tensor, mask: Tensor, scale: int, seed: int = 0) -> Tensor:
        """A photograph (1, C, H, W) with something pasted, or parts moved, as if it were one (figures 12 and 13).

        ``mask`` (1, 1, H, W) in [0, 1] is 1 where: there the result is the pyramid's, elsewhere the composite stays;
        between both a border of a field of view's width is soft. ValueError for other scales or shapes.
        """
        if mask.shape != (1, 1, *composite.shape[2:]):
            expected = (1, 1, *composite.shape[2:])
            raise ValueError(f"mask has shape {tuple(mask.shape)}, expected {expected} as the picture")
        made = self._entered(composite, scale, seed)
        kept = F.interpolate(composite, made.shape[2:], mode="bicubic", antialias=True)
        inside = F.max_pool2d(F.interpolate(mask, made.shape[2:], mode="bilinear", antialias=True), 7, 1, 3)
        soft = F.avg_pool2d(inside, 5, 1, 2, count_include_pad=False)
        return (soft * made + (1 - soft) * kept).clamp(-1, 1)

    @torch.no_grad()
    def super_resolution(self, factor: float, image: Tensor | None = None, seed: int = 0) -> Tensor:
        """(1, C, H, W) → (1, C, factor·H, factor·W), the photograph itself where none is given.

        Enlarged again and again by about the pyramid's factor, each time through the finest generator, which has
        learned how detail follows from what is coarser. ValueError for a factor not above 1.
        """
        if not 1 < factor <= 16:
            raise ValueError(f"factor is {factor}, expected more than 1, at most 16")
        pyramid = self.pyramid.eval()
        finest = len(pyramid.sizes) - 1
        image = pyramid.reconstruction(finest + 1) if image is None else self._checked(image)
        assert image is not None
        shape = image.shape[2:]
        ratio = pyramid.sizes[-1][0] / pyramid.sizes[-2][0] if finest else 4 / 3
        times = max(1, round(math.log(factor) / math.log(ratio)))
        for number in range(1, times + 1):
            height, width = (round(side * factor ** (number / times)) for side in shape)
            drawn = noises(torch.tensor([seed]), image.shape[1], [(height, width)], finest + number)
            image = pyramid(drawn, image, finest)
        return image.clamp(-1, 1)

    @torch.no_grad()
    def _entered(self, image: Tensor, scale: int, seed: int) -> Tensor:
        """The picture at the size of the scale below ``scale``, through the rest of the pyramid."""
        self._check_scale(scale)
        pyramid = self.pyramid.eval()
        coarse = F.interpolate(self._checked(image), pyramid.sizes[scale - 1], mode="bicubic", antialias=True)
        drawn = noises(torch.tensor([seed]), image.shape[1], pyramid.sizes[scale:], scale)
        made: Tensor = pyramid(drawn, coarse, scale)
        return made.clamp(-1, 1)

    def _check_scale(self, scale: int) -> None:
        scales = len(self.pyramid.sizes)
        if not 0 < scale < scales:
            raise ValueError(f"scale is {scale}, expected 1 to {scales - 1}: there are {scales} scales")

    def _checked(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[:2] != (1, self.image_shape[0]):
            expected = f"(1, {self.image_shape[0]}, H, W)"
            raise ValueError(f"image has shape {tuple(image.shape)}, expected {expected}")
        return image.clamp(-1, 1)

    def _sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Of each scale, for samples of this size."""
        across = height / self.image_shape[1], width / self.image_shape[2]
        sizes = [
            (round(across[0] * rows), round(across[1] * columns)) for rows, columns in self.pyramid.sizes
        ]
        if min(sizes[0]) < 2:
            raise ValueError(
                f"samples of {height} x {width} leave the coarsest scale less than 2 pixels, expected larger ones"
            )
        return [*sizes[:-1], (height, width)]
