"""Triton's kernels compiled offline: a sample a day against the bars of cards and against the committed ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402
from triton.tools.disasm import get_sass  # noqa: E402

import genfuse_kernels  # noqa: E402
from genfuse_bench import card_bars, cards, compiled, sass  # noqa: E402
from genfuse_bench.call import Call  # noqa: E402
from genfuse_bench.card import Card, triton_card  # noqa: E402
from genfuse_bench.card_calls import all_calls  # noqa: E402
from genfuse_bench.card_convolutions import conv_calls  # noqa: E402
from genfuse_bench.occupancy import occupancy  # noqa: E402
from genfuse_kernels.common import layout  # noqa: E402
from genfuse_kernels.conv_norm_act.settings import Settings  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_gradient import conv_norm_act_gradient  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_impl import conv_norm_act  # noqa: E402
from genfuse_kernels.conv_norm_act.triton_plan import WAYS  # noqa: E402
from genfuse_kernels.norm_act.triton_impl import norm_act  # noqa: E402
from genfuse_kernels.upfirdn2d import triton_impl as upfirdn2d  # noqa: E402
from triton_proof.seeds import rotating  # noqa: E402

COMMITTED = [card for card in cards.load() if card.backend == "triton"]


def compiled_again(card: Card) -> Card:
    """The same kernel, case, target and dtype, compiled from what the sources are now."""
    for call in all_calls(getattr(torch, card.dtype)):
        if call.case == card.case and call.named(card.kernel):
            for now in cards.cards(
                (card.target,), (getattr(torch, card.dtype),), lambda _, call=call: [call]
            ):
                if now.name == card.name:
                    return now
    pytest.fail(f"{card.name}: no call launches it any more; `make cards` writes what is now")


@pytest.mark.parametrize("number", rotating(4, len(COMMITTED)))
def test_cards_reach_the_bars_and_are_no_worse_than_the_committed_ones(number):
    before = COMMITTED[number * 7919 % len(COMMITTED)]  # a prime: a day's are of several ops
    card = compiled_again(before)
    assert card_bars.unexcused(card) == []
    assert card_bars.worse(card, before) == []


CONVOLUTIONS = [
    (dtype, place, target, name)
    for dtype in (torch.float32, torch.float16, torch.bfloat16)
    for place, call in enumerate(conv_calls(dtype))
    if call.function is conv_norm_act
    for target in ("sm_80", "sm_90", "sm_100")
    for name in WAYS
    if name
]


@pytest.mark.parametrize("number", rotating(2, len(CONVOLUTIONS)))
def test_the_ways_that_are_tried_on_a_device_stay_in_registers(number):
    dtype, place, target, name = CONVOLUTIONS[number * 7919 % len(CONVOLUTIONS)]
    call = list(conv_calls(dtype))[place]
    call = replace(call, options={**call.options, "way": WAYS[name]})
    with compiled.standin_driver(target):
        found = [triton_card(binary, kernel, call.case, target, dtype) for kernel, binary in call.compiled()]
    assert found
    for card in found:
        assert not (card.spills or card.local_accesses), f"{card.name}, {name}: {card.spill_bytes} bytes"


def test_every_kernel_has_a_committed_card_that_reaches_the_bars():
    root = Path(genfuse_kernels.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in root.rglob("*.py")]
    kernels = {
        name
        for source in sources
        for name in re.findall(r"^@triton\.jit.*\ndef (\w+)_kernel\(", source, re.M)
    }
    assert {card.kernel for card in COMMITTED} == kernels, (
        "`make cards`, after a call in genfuse_bench.card_calls"
    )
    assert {card.target for card in COMMITTED} == set(cards.TARGETS)
    assert {card.dtype for card in COMMITTED} == {str(dtype).removeprefix("torch.") for dtype in cards.DTYPES}
    assert [what for card in COMMITTED for what in card_bars.unexcused(card)] == []


def test_what_is_excused_is_missed():
    """An excuse that no card needs any more goes."""
    missed = [(card, what) for card in cards.load() for what in card_bars.missed(card)]
    for of in card_bars.EXCUSED:
        assert any(re.search(of.card, card.name) and re.search(of.missed, what) for card, what in missed), of


def test_sizes_of_one_compile():
    """Triton makes constants of arguments that are 1, which the interpreter does not."""
    x, weight, stats, seeds = (
        torch.empty(1, 1, 1, 1),
        torch.empty(1, 1, 1, 1),
        torch.empty(1, 1, 2),
        torch.zeros(1, dtype=torch.int64),
    )
    s = Settings(norm="batch", activation="silu", dropout=0.1, dropout_stream=1, transposed=True)
    with compiled.standin_driver("sm_80"), compiled.compiling_only() as found:
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
    assert {name.removesuffix("_kernel") for name, _ in found} >= {
        "conv_norm_act",
        "weight_gradient",
        "fold_weights",
        "gradient_sums",
        "pixel_sums",
        "read_gradient",
        "norm_act",
        "pixel_table",
    }


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_tiles_are_copied_by_tensor_descriptors_from_sm_90_on(target: str):
    """Of weights, and of pixels that were staged: TMA's instructions, and no copy by threads."""
    (call,) = [call for call in conv_calls(torch.bfloat16) if call.case == "group, silu, 3x3"]
    with compiled.standin_driver(target):
        ((_, binary),) = call.compiled()
    code = get_sass(binary.asm["cubin"])
    copies = {name for name in ("UTMALDG", "LDGSTS") if name in code}
    assert copies == ({"LDGSTS"} if target == "sm_80" else {"UTMALDG"})


def test_offsets_of_64_bits_compile_and_spill_nothing(monkeypatch):
    """What tensors of 2^31 elements a sample get; a call a day."""
    monkeypatch.setattr(layout, "INT32_LIMIT", 0)
    monkeypatch.setattr(upfirdn2d, "INT32_LIMIT", 0)
    calls = list(all_calls(torch.bfloat16))
    for number in rotating(1, len(calls)):
        call = calls[number * 7919 % len(calls)]
        with compiled.standin_driver("sm_90"):
            for kernel, binary in call.compiled():
                card = triton_card(binary, kernel, call.case, "sm_90", torch.bfloat16)
                assert not card.spills, card


@triton.jit
def planted_spill_kernel(out, values, SIZE: tl.constexpr):
    """More live values than registers: each is needed again after all have been summed."""
    i = tl.arange(0, SIZE)
    value = tl.load(values + i)
    tl.store(out + i, tl.sum(value) * value)


def _planted_spill(size: int) -> None:
    out, values = torch.empty(size), torch.empty(size)
    planted_spill_kernel[(1,)](out, values, SIZE=size, num_warps=1, maxnreg=32)


def test_a_planted_spill_is_seen():
    with compiled.standin_driver("sm_80"):
        ((kernel, binary),) = Call("", _planted_spill, (2048,)).compiled()
    card = triton_card(binary, kernel, "", "sm_80", torch.float32)
    assert card.spills and "spills" in card_bars.missed(card)[0]


SOUND = Card(
    registers=64, spill_bytes=0, local_bytes=0, local_accesses=0, shared_bytes=0, tensor_core=32,
    tensor_instruction="HMMA", loads={"32": 2, "128": 4}, stores={"128": 2}, read_only={}, special=0,
    instructions=500, least_issued=400, least_special=0, backend="triton", kernel="conv_norm_act", case="3x3",
    target="sm_80", dtype="float16", threads=128, occupancy=0.5, limiter="registers", uniform=2, blocks=100,
    requested=2000, touched=1100, minimum=1000, flops=100000,
)  # fmt: skip


@pytest.mark.parametrize(
    "change, says",
    [
        ({"spill_bytes": 8}, "8 bytes spilled, none before"),
        ({"tensor_core": 0, "tensor_instruction": ""}, "no tensor-core instruction, 32 HMMA before"),
        ({"tensor_instruction": "IMMA"}, "tensor cores by IMMA, HMMA before"),
        ({"loads": {"64": 8}}, "of accesses are of 128 bits, 100.0% before"),
        ({"registers": 80}, "80 registers, 64 before"),
        ({"touched": 1200}, "1200 bytes touched, 1100 before"),
        ({"requested": 2001}, "2001 bytes requested, 2000 before"),
        ({"shared_bytes": 1024}, "1024 bytes of shared memory, 0 before"),
    ],
)
def test_a_worse_card_is_named_with_its_number_and_how_to_accept_it(change, says):
    assert card_bars.worse(SOUND, SOUND) == []
    first = card_bars.worse(replace(SOUND, **change), SOUND)[0]
    assert first.startswith("triton conv_norm_act (3x3) sm_80 float16: ")
    assert says in first and "`make cards`" in first


@pytest.mark.parametrize(
    "change, says",
    [
        ({"local_accesses": 3}, "spills"),
        ({"target": "sm_90"}, "expected HGMMA"),
        ({"target": "sm_100"}, r"expected UTC"),
        ({"call_touched": 1301, "call_minimum": 1000}, "at most 1.3"),
        ({"kernel": "sampler_step", "loads": {"32": 3, "128": 1}, "stores": {"32": 1}}, "128 bits"),
        ({"kernel": "sampler_step", "touched": 1021}, "at most 1.02"),
        ({"kernel": "norm_act", "touched": 1051}, "at most 1.05"),
        ({"kernel": "upfirdn2d", "stores": {"64": 1, "128": 1}}, "128 bits: stores of 64, 128"),
    ],
)
def test_a_bar_that_is_missed_is_named(change, says):
    assert card_bars.missed(SOUND) == []
    assert any(says in what for what in card_bars.missed(replace(SOUND, **change)))


def test_a_column_that_a_committed_card_is_older_than_is_not_held_against_it():
    unread = replace(SOUND, target="sm_90", tensor_instruction="", special=None)
    assert card_bars.missed(unread) and card_bars.unexcused(unread) == []
    assert card_bars.unexcused(replace(unread, special=0)) != []


def test_floors_are_of_the_targets_data_sheet():
    floors = SOUND.floors
    assert floors["memory"] == pytest.approx(1000 / 2.039e12 * 1e6)
    assert floors["arithmetic"] == pytest.approx(100000 / 312e12 * 1e6)
    assert floors["issue"] == pytest.approx(100 * 4 * 400 / (108 * 1.41e9 * 4) * 1e6)
    assert replace(SOUND, blocks=0).floors == {}


CODE = """
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/               @P0 EXIT ;
        /*0020*/                   MUFU.EX2 R1, R0 ;
.L_x_1:
        /*0030*/                   FADD R1, R1, R0 ;
        /*0040*/               @P1 BRA `(.L_x_1);
        /*0050*/               @P2 BRA `(.L_x_2);
        /*0060*/                   FADD R1, R1, R0 ;
        /*0070*/                   FADD R1, R1, R0 ;
.L_x_2:
        /*0080*/                   STG.E.128 [R2.64], R4 ;
        /*0090*/                   EXIT ;
.L_x_0:
        /*00a0*/                   BRA `(.L_x_0);
"""


def test_the_shortest_way_leads_past_a_store_and_goes_round_no_loop():
    code, labels = sass._parsed(CODE)
    assert sass._least(code, labels, lambda instruction: 1) == 8
    assert sass._least(code, labels, lambda instruction: int(instruction.kind == "MUFU")) == 1


@pytest.mark.parametrize(
    "target, registers, shared, threads, expected",
    [
        ("sm_80", 32, 0, 128, (1.0, "threads")),
        ("sm_80", 128, 0, 128, (0.25, "registers")),
        ("sm_80", 255, 0, 1024, (0.0, "registers")),
        ("sm_80", 32, 99 * 1024, 256, (0.125, "shared memory")),
        ("sm_90a", 16, 0, 32, (0.5, "blocks")),
        ("gfx942", 128, 0, 256, (0.5, "registers")),
    ],
)
def test_occupancy(target, registers, shared, threads, expected):
    assert occupancy(target, registers, shared, threads) == expected


def test_every_launch_says_whether_products_are_fused_with_sums(monkeypatch):
    """Triton's default changes with 3.10: bits and registers would, and before that every process is warned."""
    said: dict[str, set[bool | None]] = {}

    def note(self, *_, warmup=False, **options):
        said.setdefault(self.fn.__name__, set()).add(options.get("enable_fp_fusion"))

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", note)
    with compiled.standin_driver("sm_90"):
        for dtype in (torch.bfloat16, torch.float32):
            for call in all_calls(dtype):
                call.run()
    assert len(said) > 20 and {name for name, given in said.items() if given != {True}} == set()
