"""A record says how far translations are from the truth, and whether a digit is still read as itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genfuse.data import digit_domains
from genfuse.systems.translation import Translator
from genfuse_bench.translation_record import of_translations


class Negative(Translator[None]):
    """Translates by a change of sign, which is right between plain and inverted digits."""

    name = "negative"

    def build(self) -> None:
        self.unused = torch.nn.Linear(1, 1)

    @property
    def averaged(self) -> torch.nn.Module:
        return self.unused

    def translated(
        self, averaged: Any, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        return -images


def test_what_is_translated_rightly_is_read_rightly() -> None:
    data = digit_domains("digits-inverted")
    found = of_translations(Negative(None, data.image_shape, data.class_names), data)
    assert list(found) == ["plain to inverted", "inverted to plain"]
    for row in found.values():
        assert row["distance"] == 0 and row["untouched"] > 1
        assert row["accuracy"] == row["of_the_truth"] > 0.98 > 0.6 > row["if_untouched"]
        assert row["by_nearest_digit"] > 0.95
    without = replace(data, held_out=None)
    assert of_translations(Negative(None, data.image_shape, data.class_names), without) == {}
