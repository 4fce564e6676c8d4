"""Large results: in blocks that are used again, never while a tensor is left in them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse import env
from genfuse.ops import norm_act, sampler_step
from genfuse_kernels.sampler_step.row import ROW

if env.backend_missing("cpu") is not None:
    pytest.skip("the cpu backend is not built", allow_module_level=True)

from genfuse_kernels import _cpu

LARGE = 4, 16, 128, 128  # 4 MiB in float32
SMALL = 1, 16, 128, 128
DEFAULT = 512 << 20


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    gc.collect()
    genfuse.empty_cache()
    yield
    genfuse.set_cache_limit(DEFAULT)
    genfuse.empty_cache()


def relu(x: Tensor) -> Tensor:
    return norm_act(x, activation="relu")


def test_a_block_is_used_again_once_nothing_lies_in_it() -> None:
    x = torch.randn(LARGE)
    used = _cpu.held_blocks()[0]
    y = relu(x)
    address = y.data_ptr()
    assert address % (2 << 20) == 0
    assert _cpu.held_blocks()[0] == used + x.nbytes
    corner = y[1, 2, :3, :3]
    kept = corner.clone()
    del y
    assert relu(-x).data_ptr() != address
    torch.testing.assert_close(corner, kept, rtol=0, atol=0)
    del corner
    assert relu(x).data_ptr() == address


def test_small_results_are_pytorchs() -> None:
    used = _cpu.held_blocks()[0]
    y = relu(torch.randn(SMALL))
    assert _cpu.held_blocks()[0] == used
    assert y.untyped_storage().resizable()


def test_what_is_kept_stays_within_the_limit() -> None:
    genfuse.set_cache_limit(6 << 20)
    del (results := [relu(torch.randn(LARGE)) for _ in range(3)])[:]
    assert _cpu.held_blocks()[1:] == (4 << 20, 6 << 20)
    genfuse.set_cache_limit(0)
    assert _cpu.held_blocks()[1] == 0
    relu(torch.randn(LARGE))
    assert _cpu.held_blocks()[1] == 0
    genfuse.set_cache_limit(DEFAULT)
    relu(torch.randn(LARGE))
    assert _cpu.held_blocks()[1] == 4 << 20
    genfuse.empty_cache()
    assert _cpu.held_blocks()[1] == 0
    assert results == []


def test_a_block_far_too_large_is_left_for_others() -> None:
    del (large := [relu(torch.randn(5 * LARGE[0], *LARGE[1:]))])[:]
    y = relu(torch.randn(LARGE))
    assert _cpu.held_blocks()[1] == 20 << 20
    assert large == [] and y.shape == LARGE


@pytest.mark.parametrize("nbytes", [-1, 1.5, True, "1", None, 1 << 63])
def test_a_limit_is_a_number_of_bytes(nbytes: Any) -> None:
    with pytest.raises(ValueError, match=r"nbytes is .*expected an int of at least 0"):
        genfuse.set_cache_limit(nbytes)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_a_step_keeps_its_samples_form(form: torch.memory_format) -> None:
    x = torch.randn(LARGE).contiguous(memory_format=form)
    table = torch.zeros(1, ROW, dtype=torch.float64)
    out, _ = sampler_step(x, x, table, 0, store=True)
    assert out.stride() == x.stride()
    assert out.data_ptr() % (2 << 20) == 0
    assert (out == 0).all()


def test_results_of_inference_mode_are_inference_tensors() -> None:
    x = torch.randn(LARGE)
    with torch.inference_mode():
        y = relu(x)
    assert y.is_inference()
    torch.testing.assert_close(y.clone(), x.relu(), rtol=0, atol=0)


def test_an_optimized_network_gives_results_of_their_own() -> None:
    model = genfuse.optimize(
        torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.SiLU()).eval()
    )
    x = torch.randn(LARGE)
    with torch.no_grad():
        first = model(x)
        kept = first.clone()
        second = model(-x)
        assert second.data_ptr() % (2 << 20) == 0
        torch.testing.assert_close(first, kept, rtol=0, atol=0)


def test_under_deterministic_algorithms_memory_is_pytorchs_to_fill(poisoned: None) -> None:
    assert relu(torch.randn(LARGE)).untyped_storage().resizable()


def test_more_than_there_is_leaves_the_cache_as_it_was() -> None:
    before = _cpu.held_blocks()
    for nbytes in (1 << 60, (1 << 64) - 1):
        with pytest.raises(MemoryError):
            _cpu.ResultBlock(nbytes)
    assert _cpu.held_blocks()[0] == before[0]


def test_threads_never_share_a_block() -> None:
    failed = []

    def work(value: float) -> None:
        for _ in range(20):
            y = relu(torch.full(LARGE, value))
            if not (y == value).all():
                failed.append(value)

    threads = [threading.Thread(target=work, args=(float(value + 1),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_forked_child_has_a_cache_of_its_own() -> None:
    y = relu(torch.ones(LARGE))
    child = os.fork()
    if child == 0:
        block = _cpu.ResultBlock(y.nbytes)
        memoryview(block)[:4] = b"\0\0\0\0"
        os._exit(0 if y.flatten()[0] == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert y.flatten()[0] == 1
