"""Every kernel compiled offline: nothing spills to local memory, and flat orders move 128 bits at a time."""

from __future__ import annotations

import json

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from genfuse_bench import cards, compiled  # noqa: E402
from genfuse_bench.card import Card, occupancy  # noqa: E402
from genfuse_bench.card_calls import (  # noqa: E402
    conv_calls,
    gradient_calls,
    norm_calls,
    sampler_calls,
    tangent_calls,
)
from genfuse_bench.network_card_calls import FLOAT32_ARITHMETIC, WITH_FLOAT64  # noqa: E402
from genfuse_kernels.bias_act import triton_impl as bias_act  # noqa: E402
from genfuse_kernels.bias_act.spec import Settings as BiasActSettings  # noqa: E402
from genfuse_kernels.conv_norm_act.settings import Settings  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_gradient import conv_norm_act_gradient  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_impl import conv_norm_act  # noqa: E402
from genfuse_kernels.norm_act.triton_impl import norm_act  # noqa: E402
from triton_proof.seeds import WHOLE, rotating  # noqa: E402

FLAT = ("deterministic, contiguous", "deterministic, channels_last", "everything, contiguous", "contiguous")

TENSOR_CORES = ("conv_norm_act", "weight_gradient")
"""Kernels that are matrix products, but for groups of one channel and float32 that is multiplied exactly."""

KERNELS = {
    sampler_calls: {"philox_normal", "sampler_step", "sampler_reduce"},
    norm_calls: {"norm_stats", "norm_act", "fold_moments", "channel_table", "batch_moments", "pixel_table"},
    conv_calls: {"conv_norm_act"},
    gradient_calls: {
        "conv_norm_act",
        "weight_gradient",
        "fold_weights",
        "gradient_sums",
        "pixel_sums",
        "read_gradient",
    },
}

TANGENTS = {"leaky_relu_tangent", "norm_direction"}
NORM_TANGENTS = {
    "norm_tangent",
    "norm_tangent_sums",
    "norm_tangent_factors",
    "norm_tangent_gradient",
    "norm_tangent_weight_gradient",
}
"""Of float32 alone."""

PRODUCTS = {"attention", "query_gradient", "key_gradient", "conv_norm_act"}
"""What is a matrix product beside the units themselves."""

TARGETS = [(80, torch.float32), (90, torch.bfloat16)]
TURN = rotating(1, 2)[0]
"""Norms and convolutions are compiled for one of the targets a day: a kernel takes about a second."""


@pytest.fixture(scope="module", params=TARGETS, ids=["sm_80", "sm_90"])
def rows(request) -> list[Card]:
    target, dtype = request.param
    return cards.cards((target,), (dtype,), sampler_calls)


@pytest.fixture(
    scope="module", params=[norm_calls, conv_calls, gradient_calls], ids=lambda calls: calls.__name__
)
def of_units(request) -> list[Card]:
    found = []
    for target, dtype in TARGETS if WHOLE else [TARGETS[TURN]]:
        found += cards.cards((target,), (dtype,), request.param)
    assert {row.kernel for row in found} == KERNELS[request.param]
    return found


def test_every_op_has_a_card(rows):
    assert {row.kernel for row in rows} == KERNELS[sampler_calls]


def test_no_kernel_spills(rows):
    assert [row for row in rows if row.spills] == []


def test_flat_orders_move_128_bits(rows):
    for row in rows:
        if row.case in FLAT and row.kernel != "sampler_reduce":
            assert set(row.stores) == {"128"}, row
            assert row.kernel == "philox_normal" or row.loads["128"] >= 2, row


def test_units_neither_spill_nor_miss_the_tensor_cores_nor_128_bits(of_units):
    for row in of_units:
        assert not row.spills, row
        if row.kernel in TENSOR_CORES and "exact" not in row.case and "depthwise" not in row.case:
            assert row.tensor_core > 0 and "128" in row.stores, row
        if row.kernel in ("norm_stats", "norm_act", "read_gradient", "gradient_sums"):
            assert "128" in row.loads and (
                row.kernel in ("norm_stats", "gradient_sums") or "128" in row.stores
            ), row


@pytest.mark.parametrize(("target", "dtype"), TARGETS if WHOLE else [TARGETS[TURN]])
def test_tangents_neither_spill_nor_miss_128_bits(target, dtype):
    found = cards.cards((target,), (dtype,), tangent_calls)
    assert {row.kernel for row in found} == TANGENTS | (NORM_TANGENTS if dtype == torch.float32 else set())
    for row in found:
        assert not row.spills, row
        if row.kernel != "norm_tangent_factors":
            assert "128" in row.loads, row


@pytest.mark.parametrize("part", rotating(1, 5))
@pytest.mark.parametrize(("target", "dtype"), TARGETS if WHOLE else [TARGETS[TURN]])
def test_what_a_network_needs_neither_spills_nor_misses_the_tensor_cores(target, dtype, part):
    found = cards.cards((target,), (dtype,), (*WITH_FLOAT64, *FLOAT32_ARITHMETIC)[part])
    assert found
    for row in found:
        assert not row.spills, row
        assert (row.tensor_core > 0) == (row.kernel in PRODUCTS), row
        if row.kernel == "upfirdn2d":
            assert set(row.stores) == {"128"}, row
            assert "128" in row.loads or "channels_last" not in row.case, row


def test_sizes_of_one_compile():
    """Triton makes constants of arguments that are 1, which the interpreter does not."""
    x, weight, stats, seeds = (
        torch.empty(1, 1, 1, 1),
        torch.empty(1, 1, 1, 1),
        torch.empty(1, 1, 2),
        torch.zeros(1, dtype=torch.int64),
    )
    s = Settings(norm="batch", activation="silu", dropout=0.1, dropout_stream=1, transposed=True)
    with compiled.standin_driver(80), compiled.compiling_only() as found:
        norm_act(x, stats, x, s, residual=x, seeds=seeds)
        conv_norm_act(x, stats, x, weight, None, s, residual=x, shift=x[0, 0], seeds=seeds)
        conv_norm_act(
            x,
            None,
            x,
            weight,
            None,
            Settings(norm="rms_pixel"),
            residual=x,
            residual_weight=weight,
        )
        for norm in ("batch", "layer_pixel"):
            conv_norm_act_gradient(
                x,
                x,
                weight,
                s._replace(norm=norm),
                {"seeds": seeds},
                through_stats=True,
                needs=("x", "weight", "bias"),
            )
    assert {name.removesuffix("_kernel") for name, _ in found} >= KERNELS[gradient_calls] | {
        "norm_act",
        "pixel_table",
    }


def test_bias_act_compiles_with_and_without_a_gradient():
    x, small = torch.empty(2, 8, 5, 7), torch.empty(2, 8)
    with compiled.standin_driver(90), compiled.compiling_only() as found:
        for activation in ("leaky_relu", "selu"):
            s = BiasActSettings(activation=activation, clamp=2.0)
            tensors = (small[0], small, x[:, :1])
            bias_act.bias_act(x, x, *tensors, s)
            bias_act.bias_act_gradient(x, x, x, *tensors, s, False, True, True, True)
            bias_act.bias_act_gradient(x, x, x, small[0], None, None, s, True, False, True, False)
    assert len(found) == 6


SPILLS = {
    ("conv_norm_act", "group, silu, 3x3", "sm_100", "float32"): 8,
    ("weight_gradient", "transposed 4x4", "sm_100", "float32"): 8,
}
"""Bytes of those cards that are known to: two registers, in float32 on sm_100 alone."""


def test_the_committed_cards_show_no_other_spill_on_any_target():
    committed = json.loads((cards.RESULTS / "cards.json").read_text())
    rows = [row for row in committed if row["backend"] == "triton"]
    assert {row["target"] for row in rows} == {"sm_80", "sm_90", "sm_100"}
    assert {row["dtype"] for row in rows} == {"float32", "bfloat16", "float16", "float64"}
    assert {row["kernel"] for row in rows} == TANGENTS | NORM_TANGENTS | set.union(*KERNELS.values())
    found = {
        (row["kernel"], row["case"], row["target"], row["dtype"]): row["spill_bytes"]
        for row in rows
        if row["spill_bytes"] or row["local_bytes"] or row["local_accesses"]
    }
    assert found == SPILLS


@triton.jit
def planted_spill_kernel(out, values, SIZE: tl.constexpr):
    """More live values than registers: each is needed again after all have been summed."""
    i = tl.arange(0, SIZE)
    value = tl.load(values + i)
    tl.store(out + i, tl.sum(value) * value)


class _Planted:
    planted_spill_kernel = planted_spill_kernel

    @staticmethod
    def planted_spill(size: int) -> None:
        out, values = torch.empty(size), torch.empty(size)
        _Planted.planted_spill_kernel[(1,)](out, values, SIZE=size, num_warps=1, maxnreg=32)


def test_a_planted_spill_is_seen():
    with compiled.standin_driver(80):
        binary = compiled.compile_call(_Planted, "planted_spill", 2048)
    assert cards.triton_card(binary, "planted_spill", "", "sm_80", torch.float32).spills


@pytest.mark.parametrize(
    "registers, shared, threads, expected",
    [(32, 0, 128, 1.0), (128, 0, 128, 0.25), (255, 0, 1024, 0.0), (32, 99 * 1024, 256, 0.125)],
)
def test_occupancy_on_sm_80(registers, shared, threads, expected):
    assert occupancy(80, registers, shared, threads) == expected
