"""A record says whether a pair of two domains shows one digit, and how far each domain's pictures are from its data."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from genfuse.data import digit_domains
from genfuse.systems.cogan import CoGAN
from genfuse.train.pictures import Pictures
from genfuse_bench.pair_record import of_pairs


class Drawn:
    """Stands for a generator whose pairs are the data's own pictures, and their negatives or others'."""

    def __init__(self, pictures: Tensor, shift: int) -> None:
        self.class_names = ("plain", "inverted")
        self._pairs = torch.cat([pictures, -pictures.roll(shift, 0)], 3)

    def sample(self, count: int, batch: int) -> Pictures:
        return Pictures(self._pairs[:count], 0.0)


@pytest.mark.parametrize("shift", [0, 1])
def test_pairs_of_one_digit_agree(shift: int) -> None:
    data = digit_domains("digits-inverted")
    plain = data.images[data.labels == 0]
    found = of_pairs(cast(CoGAN, cast(Any, Drawn(plain, shift))), data, 500)
    assert found["agreement"] == 1 if shift == 0 else found["agreement"] < 0.3
    assert found["by_chance"] < 0.3
    assert all(found["fid"][name] < 1 for name in ("plain", "inverted"))
