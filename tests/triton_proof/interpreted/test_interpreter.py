"""The corrections hold, and faults planted on purpose are caught."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from genfuse.lab import interpreter


@triton.jit
def _copy(source, target, numel, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(source + i, mask=i < numel, other=0.0).to(tl.float32)
    tl.store(target + i, value.to(target.dtype.element_ty), mask=i < numel)


@triton.jit
def _copy_unmasked(source, target, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(target + i, tl.load(source + i))


@triton.jit
def _overlapping(target, BLOCK: tl.constexpr):
    i = tl.program_id(0) * (BLOCK // 2) + tl.arange(0, BLOCK)
    tl.store(target + i, i.to(tl.float32))


@triton.jit
def _shift(values, BLOCK: tl.constexpr):
    """Reads its right neighbour's first element, and writes its own."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(values + i, tl.load(values + i + 1))


@triton.jit
def _same_element(target, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(target + i // 2, i.to(tl.float32))


@triton.jit
def _double(values, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(values + i)
    tl.store(values + i, value + value)


@triton.jit
def _scalar_mask(flag, source, target, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    wanted = tl.load(flag) != 0
    tl.store(target + i, tl.load(source + i, mask=(i < BLOCK) & wanted, other=-1.0))


def test_bfloat16_casts_round_to_nearest_even_as_torch_does():
    values = torch.cat(
        [torch.randn(250) * 1e3, torch.tensor([float("inf"), float("nan"), 0.0, -0.0, 3e38, 1e-40])]
    )
    rounded = torch.empty(256, dtype=torch.bfloat16)
    _copy[(4,)](values, rounded, 256, 64)
    torch.testing.assert_close(rounded, values.bfloat16(), rtol=0, atol=0, equal_nan=True)
    back = torch.empty(256)
    _copy[(4,)](rounded, back, 256, 64)
    torch.testing.assert_close(back, rounded.float(), rtol=0, atol=0, equal_nan=True)


def test_arithmetic_on_raw_bfloat16_is_refused():
    with pytest.raises(InterpreterError, match="upcast"):
        _double[(1,)](torch.ones(16, dtype=torch.bfloat16), 16)


@pytest.mark.parametrize("flag", [0.0, 2.0])
def test_a_scalar_comparison_masks_a_tile(flag):
    target = torch.empty(16)
    _scalar_mask[(1,)](torch.tensor([flag]), torch.ones(16), target, 16)
    assert (target == (1.0 if flag else -1.0)).all()


def test_reading_or_writing_past_the_end_is_caught():
    with pytest.raises(InterpreterError, match="out-of-bounds load of 8 lanes"):
        _copy_unmasked[(1,)](torch.empty(56), torch.empty(64), 64)
    with pytest.raises(InterpreterError, match="out-of-bounds store of 8 lanes"):
        _copy_unmasked[(1,)](torch.empty(64), torch.empty(56), 64)


def test_leaving_a_slice_is_caught_though_the_storage_goes_on():
    with pytest.raises(InterpreterError, match="out-of-bounds load"):
        _copy_unmasked[(1,)](torch.empty(128)[:56], torch.empty(64), 64)


def test_a_misaligned_address_is_caught():
    storage = torch.zeros(65 * 4, dtype=torch.uint8)
    values = storage[2 : 2 + 16 * 4]
    with pytest.raises(InterpreterError, match="misaligned"):
        _overlapping[(1,)](triton.reinterpret(values, tl.float32), 16)


def test_two_programs_writing_one_element_are_caught():
    with pytest.raises(InterpreterError, match="race: store"):
        _overlapping[(2,)](torch.empty(24), 16)


def test_reading_what_a_later_program_writes_is_caught():
    with pytest.raises(InterpreterError, match="race"):
        _shift[(2,)](torch.zeros(33), 16)


def test_two_lanes_writing_one_element_are_caught():
    with pytest.raises(InterpreterError, match="two lanes"):
        _same_element[(1,)](torch.empty(16), 16)


def test_bytes_are_counted_by_tensor_and_masked_lanes_are_not():
    source, target = torch.randn(100), torch.empty(100, dtype=torch.float16)
    with interpreter.record() as traffic:
        _copy[(2,)](source, target, 100, 64)
    assert traffic.loaded == {source.data_ptr(): 400, target.data_ptr(): 0}
    assert traffic.stored == {source.data_ptr(): 0, target.data_ptr(): 200}
    assert traffic.launches == 1
