"""Each CPU kernel of `conv_norm_act` on the shapes that are hard for it, and which one a convolution runs on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act.cpu_impl import conv_norm_act, convolution
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from ops.conv_cases import (
    Case,
    check,
    convolution_of,
    make_case,
    run,
    uses_winograd,
)
from ops.cpu_cases import laid_out, untouched_elsewhere

pytestmark = pytest.mark.usefixtures("isa")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transposed", [False, True])
def test_every_tail_of_a_tile(transposed: bool, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(7)
    settings = Settings(padding=(1, 1), accuracy="fast")
    if transposed:
        settings = settings._replace(stride=(2, 2), transposed=True)
    for height in range(1, 21):
        size = (height, 21 - height)
        shape = (5, 7, 4, 4) if transposed else (7, 5, 3, 3)
        case = make_case(rng, dtype, settings, 2, 5, shape, size)
        assert uses_winograd(case)
        check(case)


@pytest.mark.parametrize(
    ("kernel", "size", "algorithm"),
    [
        (3, (8, 7), "direct"),  # one tile
        (3, (16, 16), "direct"),  # four of them: the weights are nine times as many
        (3, (17, 17), "direct"),  # 9x9 pixels of 12x12
        (3, (24, 24), "winograd"),
        (3, (32, 31), "winograd"),
        (4, (4, 4), "winograd 2x2"),
        (4, (8, 7), "direct"),  # 4x3 pixels of 4x4
        (4, (8, 8), "winograd 2x2"),
        (4, (10, 10), "direct"),  # 5x5 pixels of 8x8
        (4, (16, 16), "winograd"),
        (5, (24, 24), "winograd"),
        (6, (24, 24), "winograd"),
        (7, (24, 24), "direct"),
    ],
)
def test_a_strided_convolution_is_winograds_where_its_products_are_few(
    kernel: int, size: tuple[int, int], algorithm: str
) -> None:
    rng = np.random.default_rng(18)
    settings = Settings(stride=(2, 2), padding=((kernel - 1) // 2,) * 2)
    case = make_case(rng, torch.float32, settings, 2, 21, (37, 21, kernel, kernel), size)
    assert convolution_of(case).algorithm == algorithm
    check(case)


def test_a_stride_that_winograd_has_not() -> None:
    rng = np.random.default_rng(18)
    for stride, kernel in (((2, 2), (3, 7)), ((2, 2), (2, 4)), ((1, 2), (4, 4)), ((3, 3), (3, 3))):
        settings = Settings(stride=stride, padding=(1, 1))
        case = make_case(rng, torch.float32, settings, 3, 9, (9, 9, *kernel), (25, 26))
        assert not uses_winograd(case)
        check(case)


def unprojected(case: Case) -> Case:
    """The same without a residual that is projected, which planar and depthwise kernels do not have."""
    if case.tensors["residual_weight"] is not None:
        case.tensors |= {"residual": None, "residual_weight": None, "residual_skip": None}
    return case


ALGORITHMS: dict[str, tuple[tuple[int, int, int, int], Settings]] = {
    "winograd": ((5, 5, 3, 3), Settings()),
    "direct": ((9, 3, 3, 3), Settings()),
    "planar": ((3, 19, 3, 3), Settings()),
    "depthwise": ((21, 1, 3, 3), Settings(groups=21)),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_at_every_width(algorithm: str) -> None:
    """Planar pictures too narrow for a vector, and rows that end within one."""
    shape, settings = ALGORITHMS[algorithm]
    rng = np.random.default_rng(11)
    for width in range(1, 40):
        wide = settings._replace(
            padding=(1, 1), stride=(1 + width % 2,) * 2 if algorithm != "winograd" else (1, 1)
        )
        case = make_case(rng, torch.float32, wide, 1, shape[1] * settings.groups, shape, (5, width))
        assert convolution_of(unprojected(case)).algorithm == algorithm
        check(case, ("contiguous", "channels_last")[width % 3 == 0])


@pytest.mark.parametrize("outputs", range(1, 10))
@pytest.mark.parametrize("channels", [1, 17])
def test_few_output_channels(outputs: int, channels: int) -> None:
    rng = np.random.default_rng([12, outputs])
    for transposed in (False, True):
        settings = Settings(padding=(1, 1), stride=(2, 2), transposed=transposed)
        shape = (channels, outputs, 4, 4) if transposed else (outputs, channels, 4, 4)
        case = unprojected(make_case(rng, torch.float32, settings, 2, channels, shape, (9, 37)))
        # Winograd has these, and is faster from 5 output channels on (where it reads more than 4).
        planar = convolution_of(case).algorithm == "planar"
        assert planar == (outputs < 5)
        check(case)


@pytest.mark.parametrize("inputs", range(1, 9))
@pytest.mark.parametrize("outputs", [1, 2, 3, 8, 15])
def test_small_groups(inputs: int, outputs: int) -> None:
    rng = np.random.default_rng([13, inputs, outputs])
    settings = Settings(padding=(1, 1), groups=11)
    shape = (11 * outputs, inputs, 3, 3)
    case = unprojected(make_case(rng, torch.float32, settings, 2, 11 * inputs, shape, (7, 13)))
    assert convolution_of(case).algorithm == "depthwise"
    check(case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5), (5, 5), (7, 7), (3, 4)])
def test_depthwise_images_read_where_they_lie(kernel: tuple[int, int], dtype: torch.dtype) -> None:
    """In channels last without a prologue; the same bits as staged."""
    rng = np.random.default_rng([19, *kernel])
    for seed, width in enumerate((*range(4, 14), 30, 41)):
        stride, dilation = (int(rng.integers(1, 4)) for _ in range(2))
        settings = Settings(
            stride=(stride, 1 + seed % 3),
            padding=tuple(k // 2 * dilation for k in kernel),  # type: ignore[arg-type]
            dilation=(dilation, 1 + seed // 3 % 2),
            groups=48,
            padding_mode=("zeros", "reflect", "circular")[seed % 3],  # type: ignore[arg-type]
            scale=0.5 if seed % 2 else 1.0,
            out_activation=("none", "silu")[seed // 2 % 2],  # type: ignore[arg-type]
        )
        if settings.padding_mode != "zeros":
            settings = settings._replace(padding=(1, 1))
        size = 14 + 2 * kernel[0], width + 2 * kernel[1]
        x, weight, shift = (
            torch.from_numpy(rng.standard_normal(shape)).to(dtype)
            for shape in ((2, 48, *size), (48, 1, *kernel), (2, 48))
        )
        tensors = dict.fromkeys(UnitTensors.__annotations__) | {"shift": shift}
        case = Case(settings, x, weight, shift[1], tensors)
        assert convolution_of(case).algorithm == "depthwise"
        check(case, "channels_last")  # with statistics, and so staged
        shape = case.reference().shape
        staged, read = (torch.full(shape, math.nan, dtype=dtype) for _ in range(2))
        read = laid_out(read, "channels_last")
        conv_norm_act(staged, None, x, weight, case.bias, settings, shift=shift)
        last = x.contiguous(memory_format=torch.channels_last)
        conv_norm_act(read, None, last, weight, case.bias, settings, shift=shift)
        assert untouched_elsewhere(read)
        assert torch.equal(read, staged)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (8, 8), (13, 24), (3, 200)])
def test_pointwise_images_read_where_they_lie(size: tuple[int, int]) -> None:
    """In channels last without a prologue; the same bits as staged."""
    rng = np.random.default_rng([20, *size])
    for channels, outputs in ((16, 5), (48, 70), (272, 16), (512, 33)):
        x, weight, residual = (
            torch.from_numpy(rng.standard_normal(shape)).float()
            for shape in ((3, channels, *size), (outputs, channels, 1, 1), (3, outputs, *size))
        )
        tensors = dict.fromkeys(UnitTensors.__annotations__) | {"residual": residual}
        case = Case(Settings(out_activation="gelu"), x, weight, residual[0, :, 0, 0], tensors)
        assert convolution_of(case).algorithm in ("direct", "planar")
        check(case)
        staged = run(case, residual)
        case.x = x.contiguous(memory_format=torch.channels_last)
        check(case)
        for got, want in zip(run(case, residual, "channels_last"), staged, strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_pictures_that_are_mostly_border(batch: int) -> None:
    rng = np.random.default_rng([14, batch])
    for size in ((1, 1), (1, 2), (2, 2), (3, 1)):
        for settings in (
            Settings(transposed=True),
            Settings(transposed=True, stride=(3, 3), padding=(1, 1), groups=2),
            Settings(padding=(2, 2)),
            Settings(padding=(3, 3), stride=(5, 5)),  # pixels of border alone
        ):
            inputs, outputs = 18 * settings.groups, 70 * settings.groups
            shape = (inputs, outputs // settings.groups, 4, 4)
            if not settings.transposed:
                shape = (outputs, inputs // settings.groups, 4, 4)
            case = make_case(rng, torch.float32, settings, batch, inputs, shape, size)
            assert convolution_of(case).algorithm == "direct"
            check(case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_upsampling_folded_into_phases(dtype: torch.dtype, padding: Any, mode: Any) -> None:
    rng = np.random.default_rng(13)
    settings = Settings(
        padding=padding,
        padding_mode=mode,
        upsample=(2, 2),
        norm="instance",
        activation="silu",
        scale=0.5,
        accuracy="fast",
    )
    for size in ((16, 16), (17, 13), (3, 70)):
        case = make_case(rng, dtype, settings, 2, 19, (37, 19, 3, 3), size)
        on_matrix_unit = dtype == torch.bfloat16 and _cpu.isa() == "amx_bf16"
        assert convolution_of(case).algorithm == ("matrix" if on_matrix_unit else "winograd folded")
        check(case)


def test_every_transposed_kernel_that_fits_a_tile() -> None:
    rng, fitting = np.random.default_rng(15), set()
    for kernel in ((3, 3), (3, 4), (5, 3), (6, 5)):
        for padding, output_padding in ((1, 1), (0, 0), (2, 1)):
            settings = Settings(
                stride=(2, 2), padding=(padding,) * 2, output_padding=(output_padding,) * 2, transposed=True
            )
            case = make_case(rng, torch.float32, settings, 2, 21, (21, 18, *kernel), (7, 9))
            check(case)
            if uses_winograd(case):
                fitting.add(kernel)
    assert fitting == {(3, 3), (3, 4), (5, 3), (6, 5)}


def test_a_picture_of_one_tile_is_cut_into_small_ones() -> None:
    rng = np.random.default_rng(14)
    settings = Settings(padding=(1, 1))
    for size, algorithm in (
        ((4, 4), "winograd 2x2"),
        ((2, 3), "winograd 2x2"),
        ((5, 4), "winograd"),
    ):
        for batch, channels, outputs in ((1, 5, 9), (3, 32, 70), (9, 256, 256)):
            case = make_case(rng, torch.float32, settings, batch, channels, (outputs, channels, 3, 3), size)
            assert convolution_of(case).algorithm == algorithm
            check(case)
    one_row = convolution((9, 5, 3, 3), settings, torch.float32, (1, 4), _cpu.isa())
    assert one_row.algorithm == "direct"


def test_a_transposed_convolution_whose_phases_have_one_tile_is_cut_into_small_ones() -> None:
    """As is the data gradient of a strided one: phases have half as many rows and columns as their picture."""
    rng = np.random.default_rng(15)
    settings = Settings(transposed=True, stride=(2, 2), padding=(1, 1))
    for size, algorithm in (
        ((4, 4), "winograd 2x2"),
        ((2, 3), "winograd 2x2"),
        ((5, 4), "winograd"),
    ):
        for batch, channels, outputs in ((1, 5, 9), (3, 32, 70), (9, 64, 128)):
            case = make_case(rng, torch.float32, settings, batch, channels, (channels, outputs, 4, 4), size)
            assert convolution_of(case).algorithm == algorithm
            check(case)
    one_row = convolution((5, 9, 4, 4), settings, torch.float32, (1, 4), _cpu.isa())
    assert one_row.algorithm == "direct"


@pytest.mark.parametrize(
    ("size", "channels", "tile"),
    [
        ((12, 12), 128, 4),  # 4 tiles for 9: the weights decide
        ((18, 18), 128, 6),
        ((40, 40), 128, 4),  # 49 for 100: an eighth of the products
        ((32, 32), 128, 4),  # 36 for 64: as many products
        ((5, 60), 128, 6),
        ((64, 64), 128, 6),
        ((18, 18), 256, 6),
    ],
)
def test_a_large_picture_is_cut_into_large_tiles(size: tuple[int, int], channels: int, tile: int) -> None:
    rng = np.random.default_rng(21)
    settings = Settings(padding=(1, 1))
    case = make_case(rng, torch.float32, settings, 2, channels, (channels, channels, 3, 3), size)
    fits = channels < 256 or _cpu.isa() != "avx2"
    assert convolution_of(case).tile == (tile if fits else 4)
    check(case)
    case.settings = settings._replace(upsample=(2, 2))
    assert convolution_of(case).algorithm in ("winograd", "winograd folded")
