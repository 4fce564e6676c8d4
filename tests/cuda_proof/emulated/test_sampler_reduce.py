"""`sampler_reduce` in CUDA, emulated, against its float64 reference."""

from __future__ import annotations

import pytest
import torch

from genfuse_kernels.common import cuda_walk
from genfuse_kernels.sampler_reduce import cuda_impl, spec
from genfuse_kernels.sampler_reduce.cuda_impl import sampler_reduce
from ops.reduce_contract import BOTH, ReduceContract, check, random_inputs, run, table


class TestContract(ReduceContract):
    kernel = staticmethod(sampler_reduce)


@pytest.mark.parametrize("dtype", spec.DTYPES, ids=str)
def test_several_tiles_in_memory_order(dtype):
    """The last of which is not whole."""
    x, m, u = random_inputs((2, 3, 40, 48), dtype)
    assert cuda_walk.walk([x, m, u], draws=False, threads=cuda_impl.THREADS).order == "flat"
    check(sampler_reduce, x, m, table(BOTH), 0, u)


@pytest.mark.parametrize("quantile", [0.0001, 0.37, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_quantiles_of_magnitudes_apart_by_orders(quantile, dtype):
    """Every digit of the selection decides somewhere."""
    x = random_inputs((2, 1500), dtype)[0]
    x = x * torch.logspace(0, 6, 1500, dtype=dtype)
    check(
        sampler_reduce, x, x, table(BOTH | {"x0_m": 0.0, "quantile": quantile, "threshold_max": 1e9}), 0, None
    )


def test_a_sample_depends_on_no_other():
    x, m, u = random_inputs((3, 3, 37))
    together = run(sampler_reduce, x, m, table(BOTH), 0, u)
    alone = run(sampler_reduce, x[1:2], m[1:2], table(BOTH), 0, u[1:2])
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("shape", [(2, 3, 36), (2, 3, 37)], ids=["flat", "planes"])
def test_offsets_and_counts_in_64_bits_give_the_same_bits(shape, monkeypatch):
    x, m, u = random_inputs(shape)
    narrow = run(sampler_reduce, x, m, table(BOTH), 0, u)
    monkeypatch.setattr(cuda_walk, "INT32_LIMIT", 0)
    assert torch.equal(run(sampler_reduce, x, m, table(BOTH), 0, u), narrow)


def test_dead_inputs_are_not_read(launch, monkeypatch):
    """Their address is one that nobody may read: a read would end the process."""
    x, m, u = random_inputs((2, 3, 36))
    dead: set[str] = set()

    def with_bad_addresses(kernel, blocks, arguments, device, threads):
        for name in dead:
            arguments[name]["data"] = 16
        launch(kernel, blocks, arguments, device, threads)

    monkeypatch.setattr(cuda_impl, "launch", with_bad_addresses)
    dead = {"uncond"}
    assert run(sampler_reduce, x, m, table(BOTH | {"guidance": 1.0}), 0, u).isfinite().all()
    dead = {"x"}
    assert run(sampler_reduce, x, m, table(BOTH | {"quantile": 0.0}), 0, u)[:, 0].isfinite().all()
    dead = {"x", "model_output", "uncond"}
    rows = table(BOTH | {"quantile": 0.0, "rescale": 0.0})
    assert run(sampler_reduce, x, m, rows, 0, u).tolist() == [[1.0, torch.inf]] * 2
