"""Digits but for one class: nothing of it is trained on, all of it is held out, beside a tenth of the others."""

from __future__ import annotations

import pytest
import torch

from genfuse import data
from genfuse.data import ImageDataset
from genfuse.systems.ebgan import EBGAN
from genfuse_bench.anomaly_record import of_anomalies


def test_one_class_is_held_out_and_the_rest_shared() -> None:
    every, some = data.digits(), data.load("digits-without-3")
    assert isinstance(some, ImageDataset) and some.held_out is not None
    assert 3 not in some.labels and len(some) + len(some.held_out) == len(every)
    assert (some.held_out.labels == 3).sum() == (every.labels == 3).sum()
    assert set(some.held_out.labels.tolist()) == set(range(10))
    with pytest.raises(ValueError, match="digits-without-0"):
        data.digits_without("digits-without-x")


def test_energies_are_judged_by_what_they_tell_apart() -> None:
    source = data.digits_without("digits-without-0")

    class Knows(EBGAN):
        """Zeros of this data are the only pictures whose middle is empty enough."""

        def energy(self, images: torch.Tensor) -> torch.Tensor:
            return -images[:, 0, 2:6, 3:5].mean((1, 2))

    system = Knows(EBGAN.defaults(source.image_shape)[0], source.image_shape, source.class_names)
    found = of_anomalies(system, source)
    assert found["area_under_the_curve"] > 0.95
    assert 0.3 < found["distance_to_the_mean"] < 0.9
    assert of_anomalies(system, data.digits()) == {}
