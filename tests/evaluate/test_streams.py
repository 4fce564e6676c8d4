"""Statistics that come in batches: the same whatever the batches, merged, saved, and over two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from genfuse.errors import CheckpointError
from genfuse.evaluate import Copies, Counts, Moments, Reservoir, TrainingSet
from genfuse.evaluate.stream import Stream

ROOT = Path(__file__).parents[2]


def filled(first: int, end: int) -> list[Stream]:
    """One of each statistic that has seen samples ``first`` to ``end`` of the same 200, seven at a time."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=generator, dtype=torch.float64) + 1e3
    images = torch.rand(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    training = TrainingSet(torch.rand(30, 1, 4, 4, generator=generator, dtype=torch.float64))
    moments, reservoir, counts, copies = Moments(5), Reservoir(40, seed=3), Counts(6), Copies(8)
    for begin in range(first, end, 7):
        part = slice(begin, min(begin + 7, end))
        moments.update(features[part])
        reservoir.update(begin, features=features[part], images=images[part])
        counts.update(torch.arange(begin, part.stop) % 5)
        copies.update(images[part], training)
    return [moments, reservoir, counts, copies]


def assert_same(got: Stream, expected: Stream) -> None:
    """Bit for bit, but for sums of floating numbers, whose order differs."""
    if isinstance(got, Reservoir) and isinstance(expected, Reservoir):
        assert got.seen == expected.seen and torch.equal(got.indices, expected.indices)
        assert all(torch.equal(got[name], expected[name]) for name in ("features", "images"))
        return
    assert got.state().keys() == expected.state().keys()
    for name, tensor in got.state().items():
        torch.testing.assert_close(tensor, expected.state()[name], rtol=1e-11, atol=1e-11)


def test_merged_is_as_if_seen_in_one() -> None:
    for first, second, third, whole in zip(
        filled(0, 60), filled(60, 61), filled(61, 200), filled(0, 200), strict=True
    ):
        second.merge(third)
        second.merge(first)
        assert_same(second, whole)


def test_saved_is_loaded(tmp_path: Path) -> None:
    for number, stream in enumerate(filled(0, 50)):
        path = tmp_path / f"{number}.safetensors"
        stream.save(path)
        loaded = type(stream).load(path)
        for name, tensor in stream.state().items():
            assert torch.equal(loaded.state()[name], tensor)
        with pytest.raises(CheckpointError, match="holds no Moments" if number else "holds no Counts"):
            (Moments if number else Counts).load(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="holds no Copies"):
        Copies.load(path)
    with pytest.raises(CheckpointError, match="holds no Copies"):
        Copies.load(tmp_path / "none")


def test_one_process_is_a_copy() -> None:
    for stream in filled(0, 20):
        copy = stream.over_processes()
        assert copy is not stream
        assert_same(copy, stream)


def meet(place: str, rank: int) -> None:
    """What each of two processes does: its share of the samples, then all of them, with the same bits in both."""
    dist.init_process_group(
        "gloo", init_method=f"file://{place}", rank=rank, world_size=2, timeout=timedelta(seconds=90)
    )
    try:
        mine = filled(0, 90) if rank == 0 else filled(90, 200)
        for part, whole in zip(mine, filled(0, 200), strict=True):
            merged = part.over_processes()
            assert_same(merged, whole)
            bits: list[Any] = [None, None]
            dist.all_gather_object(bits, {name: t.tolist() for name, t in merged.state().items()})
            assert bits[0] == bits[1]
    finally:
        dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    """By gloo: this one and another."""
    paths = [str(ROOT / name) for name in ("tests", "engine", "kernels")]
    place = str(tmp_path / "meet")
    code = f"import sys; sys.path[:0] = {paths!r}\nfrom evaluate.test_streams import meet; meet({place!r}, 1)"
    other = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    meet(place, 0)
    _, errors = other.communicate(timeout=90)
    assert other.returncode == 0, errors.decode()


def test_moments_far_from_zero() -> None:
    """A deviation of 1 at 1e6: sums of squares would keep 3 digits of it in float64."""
    x = torch.randn(3000, 4, dtype=torch.float64)
    moments = Moments(4)
    for part in (x + 1e6).split(17):
        moments.update(part)
    torch.testing.assert_close(moments.covariance, torch.cov(x.mT), rtol=1e-8, atol=1e-9)
    assert moments.count == 3000
    torch.testing.assert_close(moments.mean, x.mean(0) + 1e6, rtol=1e-14, atol=0)


def test_a_reservoir_is_a_uniform_sample() -> None:
    """Each of 60 samples is among 15 kept in a quarter of 2,000 draws, to five deviations; so is each pair."""
    kept = torch.zeros(60, 60)
    for seed in range(2000):
        reservoir = Reservoir(15, seed)
        reservoir.update(0, value=torch.arange(60))
        assert torch.equal(reservoir["value"], reservoir.indices)
        row = torch.zeros(60)
        row[reservoir.indices] = 1
        kept += row.outer(row)
    for share, expected in (
        (kept.diagonal() / 2000, 15 / 60),
        (kept[torch.triu(torch.ones(60, 60), 1) > 0] / 2000, 15 * 14 / 60 / 59),
    ):
        deviation = (expected * (1 - expected) / 2000) ** 0.5
        assert ((share - expected).abs() < 5 * deviation).all()


def test_a_reservoir_holds_no_more_than_it_may() -> None:
    reservoir = Reservoir(10)
    for first in range(0, 1000, 50):
        reservoir.update(first, image=torch.full((50, 3), float(first)))
    assert len(reservoir) == 10 and reservoir.seen == 1000
    assert reservoir["image"].shape == (10, 3) and reservoir["image"].untyped_storage().nbytes() == 120
    assert torch.equal(reservoir["image"][:, 0], (reservoir.indices // 50 * 50).float())


def reservoir(first: int = 0, **columns: Tensor) -> Reservoir:
    made = Reservoir(4)
    made.update(first, **(columns or {"x": torch.zeros(3)}))
    return made


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Moments(3).update(torch.zeros(2, 4)), "features has 4 features a sample, expected 3"),
        (lambda: Moments(3).update(torch.full((2, 3), torch.nan)), "features is not finite"),
        (lambda: Moments(3).merge(Moments(4)), "other has 4 features a sample, expected 3"),
        (lambda: Moments(3).covariance, "there are 0 samples, expected at least 2"),
        (lambda: Counts(0), "bins is 0"),
        (lambda: Counts(3).update(torch.tensor([3])), r"expected \(N,\) in \[0, 3\)"),
        (lambda: Counts(3).merge(Counts(2)), "other has 2 bins, expected 3"),
        (lambda: Reservoir(0), "capacity is 0"),
        (lambda: reservoir().update(2, x=torch.zeros(3)), "a sample is here already"),
        (lambda: reservoir().update(3, y=torch.zeros(3)), "columns are"),
        (lambda: reservoir().update(3, x=torch.zeros(3, 2)), "columns are"),
        (lambda: reservoir(x=torch.zeros(2), y=torch.zeros(3)), "expected one length"),
        (lambda: reservoir().merge(reservoir()), "a sample is here already"),
        (lambda: reservoir().merge(Reservoir(5)), "other keeps 5 by seed 0, expected 4"),
        (lambda: Copies(0), "keep is 0"),
    ],
)
def test_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
