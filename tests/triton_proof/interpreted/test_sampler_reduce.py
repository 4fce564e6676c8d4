"""`sampler_reduce` in Triton against its float64 reference, with every access checked."""

from __future__ import annotations

import pytest
import torch

from genfuse.lab import interpreter
from genfuse_kernels.common import layout
from genfuse_kernels.sampler_reduce import spec
from genfuse_kernels.sampler_reduce.triton_impl import sampler_reduce
from ops.reduce_contract import BOTH, ReduceContract, random_inputs, run, table


class TestContract(ReduceContract):
    kernel = staticmethod(sampler_reduce)


def test_inputs_are_read_a_few_times_and_dead_ones_never():
    x, m, u = random_inputs((2, 3, 37))
    bytes_of_x = x.numel() * x.element_size()
    rows = table(BOTH | {"guidance": 1.0, "rescale": 0.0})
    with interpreter.record() as traffic:
        run(sampler_reduce, x, m, rows, 0, u * torch.nan)
    assert traffic.loaded[x.data_ptr()] in (spec.bytes_moved(x.numel(), 4, passes) for passes in (4, 5))
    assert traffic.launches == 1
    with interpreter.record() as traffic:
        assert (
            run(sampler_reduce, x * torch.nan, m, table(BOTH | {"quantile": 0.0}), 0, u)
            .isfinite()[:, 0]
            .all()
        )
    assert traffic.loaded[u.data_ptr()] == 2 * bytes_of_x + 2 * x.element_size()  # a first element a sample


def test_offsets_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sample of 2^31 elements gets, by fewer threads."""
    x, m, u = random_inputs((2, 3, 8, 8))
    found = []
    for limit in (2**31, 0):
        monkeypatch.setattr(layout, "INT32_LIMIT", limit)
        found.append(run(sampler_reduce, x, m, table(BOTH), 0, u))
    assert found[0].isfinite().all()
    torch.testing.assert_close(*found)
