"""The ways to compute a convolution that a measurement chooses from: each is right, and cutting changes no bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.conv_norm_act.cpu_impl import BY_RULE, Way, conv_norm_act, convolution, finer, ways
from genfuse_kernels.conv_norm_act.settings import NORMS, PADDING_MODES, PaddingMode, Settings
from ops.conv_cases import (
    Case,
    allowed_error,
    check,
    convolution_of,
    make_case,
    random_case,
    rounding,
)

pytestmark = pytest.mark.usefixtures("isa")


def run(case: Case, like: Tensor, way: Way) -> Tensor:
    out = torch.full(like.shape, torch.nan, dtype=case.x.dtype)
    conv_norm_act(out, None, case.x, case.weight, case.bias, case.settings, way=way, **case.tensors)
    return out


def ways_of(case: Case) -> dict[str, Way]:
    return ways(torch.empty(0), None, case.x, case.weight, case.bias, case.settings, **case.tensors)


def check_all(case: Case) -> list[str]:
    """Holds every way to the definition, however it is cut; their names."""
    want = case.double().reference()
    found = ways_of(case)
    assert next(iter(found.values())) == BY_RULE
    for name, way in found.items():
        whole = run(case, want, way)
        allowed = allowed_error(case, way.kernel) + rounding(case, want)
        assert ((whole.double() - want).abs() <= allowed).all(), f"{name}; {case.settings}"
        for cut, each in finer(name, way).items():
            assert torch.equal(run(case, want, each), whole), f"{cut}; {case.settings}"
    return list(found)


@pytest.mark.parametrize("seed", range(24))
def test_every_way_is_right(seed: int) -> None:
    rng = np.random.default_rng([41, seed])
    check_all(random_case(rng, (torch.float32, torch.bfloat16)[seed % 2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (5, 5), (6, 6), (3, 6), (5, 4)])
def test_every_tail_of_a_strided_tile(kernel: tuple[int, int], dtype: torch.dtype) -> None:
    """Shares of one to three taps along either axis, of both tiles, and every padding mode."""
    rng = np.random.default_rng(17)
    for height in range(6, 26):
        settings = Settings(
            stride=(2, 2),
            padding=(height % 3, height // 3 % 3),
            extra_padding=((0, 0), (1, 0), (0, -1 if height // 3 % 3 else 1))[height % 3],
            padding_mode=("zeros", "reflect", "circular")[height // 2 % 3],  # type: ignore[arg-type]
            upsample=((1, 1), (1, 1), (2, 2))[height % 3],
            accuracy="fast",
        )
        case = make_case(rng, dtype, settings, 2, 21, (19, 21, *kernel), (height, 31 - height))
        names = check_all(case)
        assert {"winograd", "winograd 2x2"} <= {name.rsplit(" ", 1)[0] for name in names}, names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_every_tail_of_a_large_tile(padding_mode: PaddingMode, dtype: torch.dtype) -> None:
    """With statistics, and with pooling and upsampling in turn, as whatever else a unit may have."""
    rng = np.random.default_rng(19)
    for height in range(1, 21):
        settings = Settings(
            padding=(1, 1),
            padding_mode=padding_mode,
            upsample=(2, 2) if height % 5 == 1 else (1, 1),
            pool=((1, 1), (1, 1), (2, 2), (2, 1), (1, 2))[height % 5] if 1 < height < 20 else (1, 1),
            norm=NORMS[height % len(NORMS)],
            activation="silu",
            accuracy="fast",
        )
        case = make_case(rng, dtype, settings, 2, 19, (21, 19, 3, 3), (height, 21 - height))
        way = ways_of(case)["winograd 6x6 float32"]
        for layout in ("contiguous", "channels_last", "batch_strided"):
            check(case, layout, way)


@pytest.mark.parametrize(
    ("stride", "kernel"), [((1, 2), (3, 4)), ((2, 1), (5, 3)), ((2, 1), (3, 3)), ((1, 2), (3, 6))]
)
def test_a_stride_along_one_axis(stride: tuple[int, int], kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(18)
    for channels, outputs in ((5, 9), (40, 70)):
        settings = Settings(stride=stride, padding=(1, 1))
        case = make_case(rng, torch.float32, settings, 3, channels, (outputs, channels, *kernel), (11, 18))
        assert any(name.startswith("winograd") for name in check_all(case))


def test_a_way_that_is_not_there_is_refused() -> None:
    rng = np.random.default_rng(5)
    case = random_case(rng, torch.float32)
    with pytest.raises(ValueError, match="way is 9, expected one of"):
        run(case, case.reference(), Way(9))
    with pytest.raises(ValueError, match="rows of a unit are -1"):
        run(case, case.reference(), Way(0, -1))


def test_exact_admits_no_winograd() -> None:
    rng = np.random.default_rng(6)
    case = random_case(rng, torch.float32, ("3x3",))
    for accuracy, has in (("exact", False), ("fast", True)):
        settings = case.settings._replace(accuracy=accuracy)  # type: ignore[arg-type]
        found = ways(torch.empty(0), None, case.x, case.weight, case.bias, settings, **case.tensors)
        assert any(name.startswith("winograd") for name in found) is has
        assert len(found) == convolution_of(replace(case, settings=settings)).ways


@pytest.mark.parametrize("transposed", [False, True])
def test_bfloat16_weights_are_packed_as_they_are(transposed: bool) -> None:
    """To the bits of what float32 of the same values is packed to, by every kernel that there is."""
    settings = Settings(padding=(1, 1), accuracy="fast", transposed=transposed)
    weight = torch.randn(37, 21, 3, 3).bfloat16()
    for shape in ((37, 21, 3, 3), (6, 21, 3, 3)):
        given = weight[: shape[0]].contiguous()
        for dtype in (torch.float32, torch.bfloat16):
            for size in ((4, 4), (12, 12), (40, 40)):
                conv = convolution(shape, settings, dtype, size, _cpu.isa())
                for way in range(conv.ways):
                    conv = convolution(shape, settings, dtype, size, _cpu.isa(), way=way)
                    packed = [_packed(conv, given), _packed(conv, given.float())]
                    assert torch.equal(*packed), (conv.algorithm, conv.product)


def _packed(conv: _cpu.Conv, weight: Tensor) -> Tensor:
    to = torch.zeros(conv.packed_size).view(torch.int32)  # bits: pairs of bfloat16 may look like NaN
    conv.pack(weight.data_ptr(), DTYPE_CODES[weight.dtype], to.data_ptr(), 2)
    return to
