"""The threads that kernels run on: PyTorch's OpenMP team where there is one, else a pool of our own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from genfuse_kernels import _cpu
from genfuse_kernels.philox_normal.cpu_impl import philox_normal
from ops.cpu_cases import threads


@pytest.fixture(params=["PyTorch's", "our own"])
def workers(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _cpu.shares_torch_threads()
    share = request.param == "PyTorch's"
    if _cpu.share_torch_threads(share) != share:
        pytest.skip("this PyTorch has no OpenMP team to join")
    yield request.param
    _cpu.share_torch_threads(before)


def _normals(seed: int) -> torch.Tensor:
    out = torch.full((8, 3, 65, 67), torch.nan)
    philox_normal(out, torch.arange(seed, seed + 8), 3, 0)
    return out


def test_every_number_of_threads_gives_the_same_bits(workers: str) -> None:
    with threads(1):
        want = _normals(0)
    for count in (2, 3, 8):
        with threads(count):
            assert torch.equal(_normals(0), want)


def test_callers_on_several_threads(workers: str) -> None:
    """One of them has the workers, the others run alone: all get their own result."""
    want = [_normals(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as callers:
        for _ in range(20):
            for seed, got in enumerate(callers.map(_normals, range(4))):
                assert torch.equal(got, want[seed])


def test_works_in_a_forked_child(workers: str) -> None:
    """The child starts workers of its own and draws the parent's numbers."""
    seeds = torch.arange(16)
    want, out = torch.empty(16, 1 << 14), torch.empty(16, 1 << 14)
    with threads(2):
        philox_normal(want, seeds, 0, 0)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)  # a child that waits for the parent's workers would wait for ever
                philox_normal(out, seeds, 0, 0)
                same = out.numpy().tobytes() == want.numpy().tobytes()  # torch's own team hangs here
                code = 0 if same and not _cpu.shares_torch_threads() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_between_parallel_kernels_of_pytorch(workers: str) -> None:
    want, x = _normals(5), torch.ones(1 << 20)
    for _ in range(20):
        assert float((x + x).sum()) == 2 << 20
        assert torch.equal(_normals(5), want)
