"""What a card has to reach, who need not and why, and whether one is worse than the committed one.

nobody        spills, or uses local memory
products      run on tensor cores: 16-bit tiles by HMMA (sm_80, and CUDA's kernels), HGMMA (sm_90), the tcgen05 family
              (sm_100), MFMA (gfx942); exempt are groups of few channels, three channels in, and float32 that is
              multiplied exactly
resampling    every store is of 128 bits; bytes touched 1.05 times the minimum
elementwise   90 % of accesses are of 128 bits, where images lie in memory order; bytes touched 1.02 times the minimum
norms         bytes touched 1.05 times the minimum
convolutions  bytes touched by the whole call 1.3 times its minimum, at the U-Net's shapes

Norms, and the gradients of convolutions, are judged a kernel at a time: what passes between a call's kernels through
memory (a norm's backward reads its input twice, parts of a weight's gradient are folded) is in the cards as
`call_touched`, 1.3 to 4 times `call_minimum`, 10 for small pictures, and has no bar. Nor has `sampler_reduce`, which
reads a sample once for each digit of its quantile, by one block, from the cache.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from genfuse_bench.card import Card

PRODUCTS = (
    "conv_norm_act",
    "data_gradient",
    "weight_gradient",
    "attention",
    "query_gradient",
    "key_gradient",
)
ELEMENTWISE = (
    "sampler_step",
    "philox_lerp",
    "philox_normal",
    "bias_act",
    "leaky_relu_tangent",
    "ema_update",
    "clip_weights",
    "scale",
    "divide",
    "timestep_embedding",
)
RESAMPLING = ("upfirdn2d",)
NORMS = (
    "norm_stats",
    "norm_act",
    "measured_act",
    "pool_act",
    "pixel_table",
    "gradient_sums",
    "pixel_sums",
    "read_gradient",
    "summed_gradient",
    "norm_tangent",
    "norm_tangent_gradient",
    "products",
    "columns",
    "norms",
    "dots",
    "gradient",
)
TOUCHED = {
    **dict.fromkeys(ELEMENTWISE, 1.02),
    **dict.fromkeys((*NORMS, *RESAMPLING), 1.05),
    **dict.fromkeys(PRODUCTS, 1.3),
}
WIDE = 0.9
TENSOR_CORES = {"sm_80": r"HMMA", "sm_90": r"HGMMA", "sm_100": r"UTC\w*MMA", "gfx942": r"MFMA"}
REGISTERS = 1.15
"""Of the committed card's: another version of an assembler may use a few more."""


class Excuse(NamedTuple):
    """Cards that are known to miss a bar: patterns of `Card.name` and of what is missed, and why."""

    card: str
    missed: str
    reason: str


EXCUSED = (
    Excuse(
        r"^cuda conv_norm_act \(.*, 64 x (64|128)",
        "bytes touched",
        "A picture of 8 x 8 fills one tile: its taps are split among blocks, whose sums of float32 pass through the "
        "cache, 33 kB each of 128 outputs. One block alone would read all weights on one of a hundred multiprocessors.",
    ),
    Excuse(
        r"^cuda .* \(planes",
        "bytes touched",
        "Images of which every second number is another's, as no layout else needs this instantiation: memory moves "
        "whole sectors, twice the numbers' own bytes.",
    ),
    Excuse(
        r"^triton (sampler_step \((stochastic|everything)|philox_normal \(|sampler_step \(.*noise).*channels_last",
        "128 bits",
        "Four normal numbers of a Philox block belong to four pixels of a plane, which lie a pixel's channels apart in "
        "channels last: Triton's kernel walks plane by plane there. CUDA's exchanges them between lanes.",
    ),
    Excuse(
        r"^triton (ema_update|clip_weights|scale) ",
        "128 bits",
        "What a tensor has behind whole chunks, fewer than 16 elements, goes one by one: a share of the instructions "
        "and next to none of the traffic.",
    ),
    Excuse(
        r"^triton bias_act \((bias|scale)",
        "128 bits",
        "Bias and scale are gathered by the element, from caches; images move 128 bits.",
    ),
    Excuse(
        r"^triton leaky_relu_tangent ",
        "128 bits",
        "The mask has a byte an element: a lane's 8 are 64 bits.",
    ),
    Excuse(
        r"^triton timestep_embedding ",
        "128 bits",
        "Two elements a lane: each takes an exponential and a sine in float64, and all of them are a few kilobytes.",
    ),
    Excuse(
        r"^triton (attention|query_gradient|key_gradient) \((256|512) channels\) sm_(90|100) ",
        "tensor cores: [0-9]+ HMMA",
        "So wide a head leaves registers for tiles of 16 or 32 tokens; a warp group's product has 64 rows.",
    ),
    Excuse(
        r"^triton conv_norm_act \(group, silu, 3x3",
        "bytes touched",
        "SiLU is applied in a pass before, which writes what the convolution reads: of an element 4 bytes in half "
        "precision, 1.2 ps of an H100's memory, where its products with 128 outputs take 2.3 ps. In the load path nine "
        "taps would take 18 special functions, 4.9 ps; of a halo tile that taps gather from, 2 ps (the op's README).",
    ),
)


_NOT_READ = "of a kind not read"
OLDER = "The committed card is older than this column; `make cards` reads it."


def exemption(card: Card) -> str:
    """Why a product need not run on tensor cores; "": it has to, or is none."""
    if card.kernel not in PRODUCTS:
        return ""
    for pattern, reason in (
        ("depthwise", "depthwise"),
        ("3 channels", "3 channels in"),
        ("exact|kFused", "float32 multiplied exactly"),
    ):
        if re.search(pattern, card.case):
            return reason
    return ""


def missed(card: Card) -> list[str]:
    """The bars that a card does not reach."""
    found = []
    if card.spills:
        found.append(
            f"spills: {card.spill_bytes} bytes, {card.local_bytes} of local memory, {card.local_accesses} accesses"
        )
    if card.kernel in PRODUCTS and not exemption(card) and not _on_tensor_cores(card):
        has = f"{card.tensor_core} {card.tensor_instruction or _NOT_READ}" if card.tensor_core else "none"
        found.append(f"tensor cores: {has}, expected {_expected(card)}")
    if card.kernel in ELEMENTWISE and "planes" not in card.case and card.wide < WIDE:
        found.append(f"128 bits: {card.wide:.0%} of accesses, expected {WIDE:.0%}")
    if card.kernel in RESAMPLING and set(card.stores) != {"128"}:
        found.append(f"128 bits: stores of {', '.join(card.stores)}")
    touched, minimum = _bytes(card)
    most = TOUCHED.get(card.kernel)
    if most and minimum and touched > most * minimum:
        found.append(f"bytes touched: {touched / minimum:.3f} of the minimum, at most {most}")
    return found


def _bytes(card: Card) -> tuple[int, int]:
    """Touched, and the least; of a convolution by all kernels of its call, which may pass images on through memory."""
    if card.kernel == "conv_norm_act":
        return card.call_touched, card.call_minimum
    return card.touched, card.minimum


def _expected(card: Card) -> str:
    if card.backend == "cuda":
        return "HMMA"
    of_half = TENSOR_CORES[card.target]
    return of_half if card.dtype != "float32" else f"{of_half}|HMMA"


def _on_tensor_cores(card: Card) -> bool:
    return re.search(_expected(card), card.tensor_instruction) is not None


def excuse(card: Card, what: str) -> str:
    """The reason that is known for what a card misses; "": none."""
    if card.older and _NOT_READ in what:
        return OLDER
    for of in EXCUSED:
        if re.search(of.card, card.name) and re.search(of.missed, what):
            return of.reason
    return ""


def unexcused(card: Card) -> list[str]:
    """What it misses for no reason that is known."""
    return [what for what in missed(card) if not excuse(card, what)]


ACCEPT = "`make cards` writes what is now, where the change is wanted"


def worse(card: Card, before: Card) -> list[str]:
    """In what a card is worse than the committed one, each with how to accept it."""
    found = []
    if card.spills and not before.spills:
        found.append(f"{card.spill_bytes + card.local_bytes} bytes spilled, none before")
    if before.tensor_core and not card.tensor_core:
        found.append(f"no tensor-core instruction, {before.tensor_core} {before.tensor_instruction} before")
    if before.tensor_instruction and not set(before.tensor_instruction.split()) & set(
        card.tensor_instruction.split()
    ):
        found.append(
            f"tensor cores by {card.tensor_instruction or 'nothing'}, {before.tensor_instruction} before"
        )
    if round(card.wide, 4) < round(before.wide, 4):
        found.append(f"{card.wide:.1%} of accesses are of 128 bits, {before.wide:.1%} before")
    if card.registers > REGISTERS * before.registers:
        found.append(f"{card.registers} registers, {before.registers} before")
    if card.shared_bytes > before.shared_bytes:
        found.append(f"{card.shared_bytes} bytes of shared memory, {before.shared_bytes} before")
    for name in ("requested", "touched"):
        now, then = getattr(card, name), getattr(before, name)
        if card.minimum and before.minimum and now > then:
            found.append(f"{now} bytes {name}, {then} before")
    return [f"{card.name}: {what}; {ACCEPT}" for what in found]
